"""One guarded HTTP client and the credentials it needs. Only here: urllib3."""
