-- The shop's own tables. Nothing here knows of a log.
CREATE TABLE customers (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    email text NOT NULL
);
CREATE TABLE products (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    price numeric(10,2) NOT NULL,
    stock integer NOT NULL CHECK (stock >= 0)
);
CREATE TABLE orders (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer_id integer NOT NULL REFERENCES customers,
    status text NOT NULL DEFAULT 'new',
    total numeric(10,2) NOT NULL,
    note text,
    placed_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE order_lines (
    order_id integer NOT NULL REFERENCES orders,
    product_id integer NOT NULL REFERENCES products,
    quantity integer NOT NULL CHECK (quantity > 0),
    price numeric(10,2) NOT NULL,
    PRIMARY KEY (order_id, product_id)
);
INSERT INTO customers (name, email) VALUES
    ('Ida Holm', 'ida@example.com'), ('Jon Berg', 'jon@example.com'), ('Kim Sato', 'kim@example.com');
INSERT INTO products (name, price, stock) VALUES
    ('teapot', 24.00, 100000), ('cup', 6.50, 100000), ('green tea', 9.80, 100000), ('tray', 18.25, 3);
