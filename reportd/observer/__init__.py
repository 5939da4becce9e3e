"""One process a VM: open requests, ETA, run completion, /metrics, /healthz, /status."""
