#!/bin/sh
# Makes what each service proves itself by, once: a certificate of an authority that exists only for this moment, and whose key is
# thrown away. Each service gets its own folder below $1, and nobody else's key.
#
#   prepare.sh FOLDER
set -eu
folder=$1
days=3650

if [ -e "$folder/worker/ca.crt" ]; then
    echo "there already"
    exit 0
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
umask 077
key="-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"

# shellcheck disable=SC2086 # $key is several words
openssl req -x509 $key -days "$days" -subj /CN=commitlog-compose -keyout "$work/ca.key" -out "$work/ca.crt" 2>/dev/null

# certificate NAME [SUBJECT-ALTERNATIVE-NAMES]: $work/NAME.key and $work/NAME.crt
certificate() {
    # shellcheck disable=SC2086
    openssl req $key -subj "/CN=$1" -keyout "$work/$1.key" -out "$work/$1.csr" 2>/dev/null
    echo "subjectAltName=${2:-DNS:$1}" > "$work/$1.ext"
    openssl x509 -req -in "$work/$1.csr" -CA "$work/ca.crt" -CAkey "$work/ca.key" -CAcreateserial -days "$days" \
        -extfile "$work/$1.ext" -out "$work/$1.crt" 2>/dev/null
}

# give FOLDER UID FILE...: copies for one service alone, and the authority's certificate
give() {
    to=$folder/$1 owner=$2
    shift 2
    mkdir -p "$to"
    for file in "$@" ca.crt; do
        cp "$work/$file" "$to/$file.new"
        chmod 0400 "$to/$file.new"
        if [ "$(id -u)" = 0 ]; then chown "$owner:$owner" "$to/$file.new"; fi
        mv "$to/$file.new" "$to/$file"
    done
    chmod 0500 "$to"
    if [ "$(id -u)" = 0 ]; then chown "$owner:$owner" "$to"; fi
}

certificate broker DNS:kafka,DNS:localhost,IP:127.0.0.1
certificate admin
certificate server DNS:postgres
certificate mysql DNS:mysql,DNS:localhost,IP:127.0.0.1
certificate mariadb DNS:mariadb,DNS:localhost,IP:127.0.0.1
certificate mongodb DNS:mongodb,DNS:localhost,IP:127.0.0.1
certificate commitlog
certificate shop_owner
certificate shop
for name in broker admin mongodb commitlog shop; do cat "$work/$name.key" "$work/$name.crt" > "$work/$name.pem"; done
openssl rand -hex 24 > "$work/superuser.password"
openssl rand -hex 96 | tr -d '\n' > "$work/mongodb.keyfile"

# By the users of the images: appuser of apache/kafka, postgres of postgres on Debian, mysql of mysql and of mariadb, mongodb of mongo, the worker's own.
give kafka 1000 broker.pem admin.pem
give kafka-admin 1000 admin.pem
give postgres 999 server.key server.crt superuser.password
give mysql 999 mysql.key mysql.crt superuser.password
give mariadb 999 mariadb.key mariadb.crt superuser.password
give mongodb 999 mongodb.pem mongodb.keyfile superuser.password
give app 10001 shop.key shop.crt shop.pem
give setup 10001 shop_owner.key shop_owner.crt
# The last one: it is by this folder that the next run sees that all is there.
give worker 10001 commitlog.key commitlog.crt commitlog.pem
