"""An app that reads its password as Python programs do, proves it, and stays."""

import hashlib
import os
import time

print(hashlib.sha256(os.environ["DB_PASSWORD"].encode()).hexdigest(), flush=True)
time.sleep(600)
