#!/bin/sh
# What the worker may do on the brokers: keep the log acme#shop, with what stands beside it, and nothing else.
set -eu
acls() {
    /opt/kafka/bin/kafka-acls.sh --bootstrap-server kafka:9093 --command-config /etc/commitlog/admin.properties \
        --add --force --allow-principal User:commitlog "$@"
}
for topic in acme.shop acme.shop.lease acme.inbox acme.sessions; do
    acls --topic "$topic" --operation Read --operation Write --operation Create --operation Describe --operation DescribeConfigs
done
acls --group acme.shop.lease --operation Read
acls --transactional-id acme.shop --operation Write --operation Describe
