CREATE ROLE app LOGIN PASSWORD 'app-secret';
CREATE DATABASE shop OWNER app;
\c shop
SET ROLE app;
CREATE TABLE customers (id int PRIMARY KEY, name text, ssn text, email text, region text);
INSERT INTO customers SELECT g, 'Person ' || g, format('8%s-12-%s', 10 + g % 90, 1000 + g),
  'user' || g || '@example.test', (ARRAY['EU','US'])[g % 2 + 1] FROM generate_series(1, 500) g;
CREATE TABLE orders (id int PRIMARY KEY, body text, total numeric(10,2));
INSERT INTO orders SELECT g, 'order ' || g, g % 997 FROM generate_series(1, 50000) g;
CREATE TABLE vault (id int PRIMARY KEY, secret text);
INSERT INTO vault VALUES (1, 'opened');
CREATE TABLE notes (id int PRIMARY KEY, body text);
INSERT INTO notes VALUES (1, '<img src=x onerror=alert(1)>'), (2, E'\x1b[2J\x07bell'), (3, NULL);
ANALYZE;
