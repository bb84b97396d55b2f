# Asks NSS about each case of the current folder, with the root trusted for everything. The argument
# is certutil.
certutil=$1
mkdir nss
"$certutil" -d sql:nss -N --empty-password
"$certutil" -d sql:nss -A -n root -t C,C,C -i root.pem
"$certutil" -d sql:nss -A -n issuing -t ,, -i issuing.pem
while read -r file name; do
  # What stands above it, without the issuing certificate: one more authority, in one case.
  [ "$file" != authority ] || "$certutil" -d sql:nss -A -n below -t ,, -i "$file.above.pem"
  "$certutil" -d sql:nss -A -n "$file" -t ,, -i "$file.pem"
  for purpose in server:V client:C mail:S recipient:R code:J; do
    if answer=$("$certutil" -d sql:nss -V -e -n "$file" -u "${purpose#*:}" 2>&1); then
      echo "$file ${purpose%%:*} accepted"
    else
      echo "$file ${purpose%%:*} refused $(echo "$answer" | tr '\n' ' ')"
    fi
  done
done <cases
