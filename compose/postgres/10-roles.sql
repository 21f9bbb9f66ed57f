-- The example's database, its app, and who may do what. Yours is there already: of this you need the last part.
CREATE ROLE shop_owner LOGIN REPLICATION;
CREATE ROLE shop LOGIN;
CREATE DATABASE shop OWNER shop_owner;
REVOKE ALL ON DATABASE shop FROM PUBLIC;
GRANT CONNECT ON DATABASE shop TO shop;

\connect shop
SET ROLE shop_owner;
CREATE SCHEMA shop;
CREATE TABLE shop.orders (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer_id bigint NOT NULL,
    status text NOT NULL DEFAULT 'new',
    email text
);
GRANT USAGE ON SCHEMA shop TO shop;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA shop TO shop;
RESET ROLE;

-- The worker's role, as `commitlog setup --sql --role commitlog` prints it.
CREATE ROLE "commitlog" LOGIN REPLICATION;
GRANT CONNECT ON DATABASE "shop" TO "commitlog";
GRANT USAGE ON SCHEMA "shop" TO "commitlog";
GRANT SELECT ON TABLE "shop"."orders" TO "commitlog";
