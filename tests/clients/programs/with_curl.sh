# A program of curl calls.
set -eu
base=https://spaces.nexudus.com
number() { sed -n "s/.*\"$1\":\([0-9]*\).*/\1/p"; }
token=$(curl -fsS -d grant_type=password -d "username=$NEXUDUS_EMAIL" -d "password=$NEXUDUS_PASSWORD" \
  "$base/api/token" | sed -n 's/.*"access_token":"\([^"]*\)".*/\1/p')
ask() { curl -sS -H "Authorization: Bearer $token" "$@"; }
for page in 1 2; do
  ask "$base/api/spaces/visitors?page=$page&size=2" | grep -o '"FullName"' | wc -l | tr '\n' ' '
done
created=$(ask -w ' %{http_code}' -H 'Content-Type: application/json' -d '{"FullName": "Grace"}' "$base/api/spaces/visitors")
printf '%s ' "${created##* }"
ask -o /dev/null -w '%{http_code} ' -X DELETE "$base/api/spaces/visitors/$(echo "$created" | number Id)"
printf '%s ' "$(head -c 300000 /dev/zero | tr '\0' x | ask -T - "$base/api/echo" | number body_length)"
ask -o /dev/null -w '%{size_download} ' "$base/ContentDownload/x?bytes=$1"
ask -o /dev/null -w '%{http_code}\n' "$base/api/spaces/visitors/999999"
