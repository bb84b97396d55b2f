# Asks OpenSSL about each case of the current folder. The argument is the program.
openssl=$1
while read -r file name; do
  for purpose in server:sslserver client:sslclient mail:smimesign time:timestampsign; do
    set -- -CAfile root.pem -no-CApath -no-CAstore -untrusted "$file.above.pem" \
      -purpose "${purpose#*:}"
    # Only a client looks at the name of a server.
    case $purpose:$name in
      server:*:[0-9]*) set -- "$@" -verify_ip "$name" ;;
      server:*) set -- "$@" -verify_hostname "$name" ;;
    esac
    if answer=$("$openssl" verify "$@" "$file.pem" 2>&1); then
      echo "$file ${purpose%%:*} accepted"
    else
      echo "$file ${purpose%%:*} refused $(echo "$answer" | tr '\n' ' ')"
    fi
  done
done <cases
