-- What every driver's scenario finds: created by the administrator, over the socket.
CREATE ROLE app LOGIN PASSWORD 'app-secret';
CREATE DATABASE shop OWNER app;
\c shop
SET ROLE app;
CREATE TABLE items (
  id int PRIMARY KEY, name text NOT NULL, price numeric(10,2), ok boolean, at timestamptz,
  day date, data jsonb, blob bytea, tags text[], big bigint, real8 float8, uid uuid);
INSERT INTO items
SELECT g, 'item ' || g || CASE WHEN g % 7 = 0 THEN ' äöü €' ELSE '' END,
       CASE WHEN g % 11 = 0 THEN NULL ELSE g * 1.25 END, g % 2 = 0,
       timestamptz '2024-03-01 10:00:00+00' + g * interval '1 minute', date '2024-01-01' + g,
       jsonb_build_object('n', g, 'list', jsonb_build_array(g, g + 1)), decode(md5(g::text), 'hex'),
       ARRAY['a' || g, NULL, 'c'], g * 10000000000, g / 3.0, md5('u' || g)::uuid
FROM generate_series(1, 1000) g;
CREATE TABLE inbox (id int PRIMARY KEY, body text);
CREATE TABLE ledger (id int PRIMARY KEY, amount int CHECK (amount > 0));
