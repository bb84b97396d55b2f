#!/usr/bin/env python3
"""Makes an SBOM that the same commit gives again: its time, number and paths are the commit's."""

import json
import os
import sys
import time
import uuid

source, target = sys.argv[1:]
with open(source, encoding="utf-8") as file:
    bom = json.load(file)
epoch = int(os.environ["SOURCE_DATE_EPOCH"])
bom["metadata"]["timestamp"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch))
bom.pop("serialNumber", None)
text = json.dumps(bom, indent=1, sort_keys=True)
# Crates of this workspace are named by the path they were built in.
text = text.replace(f"path+file://{os.getcwd()}", "path+file:///build")
bom = json.loads(text)
name = uuid.uuid5(uuid.NAMESPACE_URL, text)
bom["serialNumber"] = f"urn:uuid:{name}"
with open(target, "w", encoding="utf-8") as file:
    json.dump(bom, file, indent=1, sort_keys=True)
