// Makes the one server a replica set, and its first user; once. What follows it is run as that user.
const admin = db.getSiblingDB("admin");
const word = require("fs").readFileSync("/tls/superuser.password", "utf8").trim();

if (!db.hello().setName) {
    admin.runCommand({"replSetInitiate": {"_id": "rs0", "members": [{"_id": 0, "host": "mongodb:27017"}]}});
}
while (!db.hello().isWritablePrimary) {
    sleep(100);
}
try {
    admin.auth("root", word);
} catch (error) {
    admin.runCommand({"createUser": "root", "pwd": word, "roles": ["root"]});
    admin.auth("root", word);
}
// The last one that is made there.
if (db.getSiblingDB("$external").getUser("CN=commitlog")) {
    print("there already");
    quit(0);
}
