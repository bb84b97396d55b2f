# A program of wget calls.
set -eu
base=https://spaces.nexudus.com
number() { sed -n "s/.*\"$1\":\([0-9]*\).*/\1/p"; }
login="grant_type=password&username=$NEXUDUS_EMAIL&password=$NEXUDUS_PASSWORD"
token=$(wget -qO- --post-data "$login" "$base/api/token" | sed -n 's/.*"access_token":"\([^"]*\)".*/\1/p')
ask() { wget -qO- --header "Authorization: Bearer $token" "$@"; }
status() { wget -qSO/dev/null --header "Authorization: Bearer $token" "$@" 2>&1 | sed -n 's/^ *HTTP\/1.1 \([0-9]*\).*/\1/p' | tail -1; }
for page in 1 2; do
  ask "$base/api/spaces/visitors?page=$page&size=2" | grep -o '"FullName"' | wc -l | tr '\n' ' '
done
created=$(ask --header 'Content-Type: application/json' --post-data '{"FullName": "Grace"}' "$base/api/spaces/visitors")
[ -z "$created" ] || printf '200 '
printf '%s ' "$(status --method DELETE "$base/api/spaces/visitors/$(echo "$created" | number Id)")"
body=$(mktemp)
head -c 300000 /dev/zero | tr '\0' x >"$body"
printf '%s ' "$(ask --method PUT --body-file "$body" "$base/api/echo" | number body_length)"
rm "$body"
printf '%s ' "$(ask "$base/ContentDownload/x?bytes=$1" | wc -c)"
status "$base/api/spaces/visitors/999999"
