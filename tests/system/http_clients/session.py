# A script with a requests.Session: reads and writes over one kept connection until its standard
# input ends, then says how it went. Asks again only where a connection that had been idle turned out
# to be closed, as every HTTP client has to.

import json
import sys
import threading
import time

import requests

base = sys.argv[1]
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()

done, failed, written, closed, longest = 0, [], [], 0, 0.0
session, is_new = requests.Session(), True
while not ended.is_set():
    name = f"session-{done}"
    begun = time.monotonic()
    for attempt in range(2):
        try:
            if done % 2:
                answer = session.post(base + "/api/spaces/coworkers", json={"FullName": name}, timeout=30)
            else:
                answer = session.get(base + "/api/auth/me", timeout=30)
        except requests.exceptions.ConnectionError as error:
            # The session may have made a new connection without being asked.
            was_new = is_new or "NewConnectionError" in str(error)
            session, is_new = requests.Session(), True
            if was_new or attempt:
                failed.append(f"{name}: {error}")
                break
            closed += 1
        else:
            is_new = answer.headers.get("connection", "").lower() == "close"
            if answer.status_code != 200:
                failed.append(f"{name}: {answer.status_code} {answer.text}")
            elif done % 2:
                written.append(name)
            break
    longest = max(longest, time.monotonic() - begun)
    done += 1
    # So that a restart finds the connection idle, too.
    time.sleep(done % 3 * 0.03)

print(json.dumps({"done": done, "failed": failed, "written": written, "closed": closed, "longest": longest}))
