"""Whether this engine completes a forward pass; TorchServe's own /ping says Healthy while its workers crash."""

import urllib.request

ADDRESS = "http://127.0.0.1:8080/predictions/skeleton_prompt"

# An HTTP error or a lost connection raises, and the exit code says so.
urllib.request.urlopen(urllib.request.Request(ADDRESS, b"", {"X-Probe": "1"}), timeout=5).read()
