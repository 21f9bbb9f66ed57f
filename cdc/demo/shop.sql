-- The shop's own tables. Nothing here knows of a log. NUMBERED and MOMENT stand for what each engine has of its own.
CREATE TABLE customers (
    id integer NUMBERED PRIMARY KEY,
    name text NOT NULL,
    email text NOT NULL
);
CREATE TABLE products (
    id integer NUMBERED PRIMARY KEY,
    name text NOT NULL,
    price numeric(10,2) NOT NULL,
    stock integer NOT NULL CHECK (stock >= 0)
);
CREATE TABLE orders (
    id integer NUMBERED PRIMARY KEY,
    customer_id integer NOT NULL,
    status varchar(20) NOT NULL DEFAULT 'new',
    total numeric(10,2) NOT NULL,
    note text,
    placed_at MOMENT NOT NULL DEFAULT current_timestamp(6),
    FOREIGN KEY (customer_id) REFERENCES customers (id)
);
CREATE TABLE order_lines (
    order_id integer NOT NULL,
    product_id integer NOT NULL,
    quantity integer NOT NULL CHECK (quantity > 0),
    price numeric(10,2) NOT NULL,
    PRIMARY KEY (order_id, product_id),
    FOREIGN KEY (order_id) REFERENCES orders (id),
    FOREIGN KEY (product_id) REFERENCES products (id)
);
INSERT INTO customers (name, email) VALUES
    ('Ida Holm', 'ida@example.com'), ('Jon Berg', 'jon@example.com'), ('Kim Sato', 'kim@example.com');
INSERT INTO products (name, price, stock) VALUES
    ('teapot', 24.00, 100000), ('cup', 6.50, 100000), ('green tea', 9.80, 100000), ('tray', 18.25, 3);
