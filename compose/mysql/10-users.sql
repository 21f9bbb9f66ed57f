-- The example's database, its app, and who may do what. Yours is there already: of this you need the last two parts.
-- Nobody knows a word to log in with: each shows the certificate that prepare.sh made for it. For MySQL and MariaDB, which calls
-- REPLICATION CLIENT BINLOG MONITOR, too.
CREATE USER 'shop_owner'@'%' REQUIRE SUBJECT '/CN=shop_owner' AND ISSUER '/CN=commitlog-compose';
CREATE USER 'shop'@'%' REQUIRE SUBJECT '/CN=shop' AND ISSUER '/CN=commitlog-compose';
CREATE DATABASE shop CHARACTER SET utf8mb4;
CREATE TABLE shop.orders (
    id bigint AUTO_INCREMENT PRIMARY KEY,
    customer_id bigint NOT NULL,
    status varchar(20) NOT NULL DEFAULT 'new',
    email varchar(254)
);
GRANT ALL ON shop.* TO 'shop_owner'@'%';
GRANT SELECT, INSERT, UPDATE, DELETE ON shop.* TO 'shop'@'%';

-- The stamp, by which the app's driver says in whose request it writes: it goes to the binary log and is kept nowhere.
CREATE DATABASE commitlog;
CREATE TABLE commitlog.stamp (ctx varchar(4000) CHARACTER SET utf8mb4 NOT NULL) ENGINE = BLACKHOLE;
GRANT INSERT (ctx) ON commitlog.stamp TO 'shop'@'%';

-- The worker's user, as `commitlog setup --sql --role commitlog` prints it.
CREATE USER 'commitlog'@'%' REQUIRE SUBJECT '/CN=commitlog' AND ISSUER '/CN=commitlog-compose';
GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO 'commitlog'@'%';
GRANT SELECT ON commitlog.stamp TO 'commitlog'@'%';
GRANT SELECT ON shop.orders TO 'commitlog'@'%';
