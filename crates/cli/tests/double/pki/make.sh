#!/bin/sh
# Makes the certificates of the API double anew: an authority, a server at 127.0.0.1, a client.
set -eu
cd "$(dirname "$0")"
key() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1.key"; }
key ca
openssl req -x509 -new -key ca.key -days 36500 -subj "/CN=double CA" -out ca.crt \
    -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign"
leaf() {
    key "$1"
    printf '%s\n' "$3" > "$1.ext"
    openssl req -new -key "$1.key" -subj "$2" |
        openssl x509 -req -CA ca.crt -CAkey ca.key -CAcreateserial -days 36500 -extfile "$1.ext" -out "$1.crt"
    rm "$1.ext"
}
leaf server "/CN=double" "subjectAltName=IP:127.0.0.1,DNS:localhost"
leaf client "/O=system:masters/CN=admin" "extendedKeyUsage=clientAuth"
rm -f ca.key ca.srl
