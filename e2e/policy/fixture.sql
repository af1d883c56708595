CREATE ROLE app LOGIN PASSWORD 'app-secret';
CREATE DATABASE shop OWNER app;
\c shop
SET ROLE app;
CREATE TABLE customers (id int PRIMARY KEY, name text, ssn text, card text, salary numeric(10,2), email text, region text);
INSERT INTO customers SELECT g, 'Person ' || g, format('8%s-12-%s', 10 + g % 90, 1000 + g), '40000012345' || 10000 + g,
  30000 + g, 'user' || g || '@example.test', (ARRAY['EU','US'])[g % 2 + 1] FROM generate_series(1, 200) g;
ALTER TABLE customers ADD CONSTRAINT named CHECK (name <> '');
CREATE TABLE customers_2020 () INHERITS (customers);
INSERT INTO customers_2020 VALUES (2001, 'Person 2001', '811-12-1001');
CREATE TABLE "tax ids" (id int, ssn text);
CREATE TABLE anschriften (id int, "straße" text);
INSERT INTO anschriften SELECT id, ssn FROM customers WHERE id = 1;
CREATE VIEW customer_names AS SELECT id, name FROM customers;
CREATE VIEW customer_view AS SELECT id, name, ssn AS number FROM customers;
CREATE TABLE orders (id int PRIMARY KEY, body text);
INSERT INTO orders SELECT g, 'order ' || g FROM generate_series(1, 50000) g;
CREATE TABLE vault (id int PRIMARY KEY, secret text);
INSERT INTO vault VALUES (1, 'opened');
CREATE TABLE metered (id int PRIMARY KEY);
INSERT INTO metered SELECT generate_series(1, 1000);
CREATE TABLE plain (id int PRIMARY KEY, body text);
INSERT INTO plain SELECT g, 'plain ' || g FROM generate_series(1, 100) g;
CREATE TABLE twin (id int PRIMARY KEY, note text);
INSERT INTO twin VALUES (1, 'harmless');
CREATE FUNCTION spill() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.body := (SELECT ssn FROM customers LIMIT 1); RETURN NEW; END $$;
CREATE FUNCTION leak() RETURNS text LANGUAGE sql AS $$ SELECT ssn FROM customers LIMIT 1 $$;
