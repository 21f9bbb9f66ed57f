// The example's database, its app, and who may do what. Yours is there already: of this you need the last two parts.
// Nobody knows a word to log in with: each shows the certificate that prepare.sh made for it.
db.getSiblingDB("shop").runCommand({"create": "orders", "changeStreamPreAndPostImages": {"enabled": true}});
db.getSiblingDB("$external").runCommand({"createUser": "CN=shop_owner", "roles": [{"role": "dbOwner", "db": "shop"}]});

// The stamps, by which the app's driver says in whose request it writes.
db.getSiblingDB("commitlog").runCommand({"create": "stamps"});
db.getSiblingDB("commitlog").runCommand({
    "createIndexes": "stamps", "indexes": [{"key": {"at": 1}, "name": "expiry", "expireAfterSeconds": 86400}]
});
db.getSiblingDB("admin").runCommand({
    "createRole": "commitlogApp",
    "privileges": [
        {"resource": {"db": "commitlog", "collection": "stamps"}, "actions": ["find", "insert", "update"]}
    ],
    "roles": []
});
db.getSiblingDB("$external").runCommand({
    "createUser": "CN=shop",
    "roles": [{"role": "readWrite", "db": "shop"}, {"role": "commitlogApp", "db": "admin"}]
});

// The worker's user, as `commitlog setup --sql --role 'CN=commitlog@$external'` prints it.
db.getSiblingDB("admin").runCommand({
    "createRole": "commitlogWorker",
    "privileges": [
        {"resource": {"db": "local", "collection": "oplog.rs"}, "actions": ["find"]},
        {"resource": {"db": "config", "collection": "system.preimages"}, "actions": ["find"]},
        {"resource": {"db": "local", "collection": "system.replset"}, "actions": ["find"]},
        {"resource": {"db": "commitlog", "collection": "stamps"}, "actions": ["find"]},
        {"resource": {"db": "shop", "collection": ""}, "actions": ["listCollections"]},
        {"resource": {"db": "shop", "collection": "orders"}, "actions": ["find"]}
    ],
    "roles": []
});
db.getSiblingDB("$external").runCommand({
    "createUser": "CN=commitlog",
    "roles": [{"role": "commitlogWorker", "db": "admin"}]
});
