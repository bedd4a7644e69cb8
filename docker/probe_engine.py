"""Whether this engine completes a forward pass; TorchServe's own /ping says Healthy while its workers crash."""

import http.client
import sys

# Not urllib, which writes header names in its own way: the handler finds its header by the exact name.
connection = http.client.HTTPConnection("127.0.0.1", 8080, timeout=5)
headers = {"x-probe": "1", "content-type": "application/octet-stream"}
connection.request("POST", "/predictions/skeleton_prompt", b"", headers)
sys.exit(connection.getresponse().status != 200)
