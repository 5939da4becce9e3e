"""The embedded broker, the partner simulator, the demo."""
