use std::collections::HashSet;

use super::inventory::Inventory;
use crate::LexSettings;
use crate::parse;

/// One text for each place of the grammar of queries that can hold an expression or relation.
const PLACES: &[&str] = &[
    "SELECT f1(), (SELECT f2() FROM r1), ARRAY[f3()], ROW(f4()), f5()::t, (f6()).x, (f7())[f8()]",
    "SELECT CASE f1() WHEN f2() THEN f3() ELSE f4() END, coalesce(f5()), greatest(f6()), nullif(f7(), f8())",
    "SELECT f1(f2() ORDER BY f3()) FILTER (WHERE f4()) OVER (PARTITION BY f5() ORDER BY f6() ROWS f7() PRECEDING)",
    "SELECT f1() OVER w, f2() WITHIN GROUP (ORDER BY f3()), f4(a => f5(), VARIADIC f6()) FROM r1 WINDOW w AS (ORDER BY f7())",
    "SELECT DISTINCT ON (f1()) 1 FROM r1 WHERE f2() GROUP BY f3(), GROUPING SETS ((f4()), ROLLUP (f5())) HAVING f6() ORDER BY f7() LIMIT f8() OFFSET f9()",
    "SELECT 1 FROM f1(f2()) WITH ORDINALITY, LATERAL (SELECT f3() FROM r1) x, ROWS FROM (f4(), f5() AS (a int)) y",
    "SELECT 1 FROM r1 TABLESAMPLE bernoulli (f2()) REPEATABLE (f3()), r2 JOIN r3 ON f4() LEFT JOIN (r4 CROSS JOIN r5) ON f5()",
    "SELECT 1 FROM XMLTABLE(XMLNAMESPACES(f1() AS x), f2() PASSING f3() COLUMNS a int PATH f4() DEFAULT f5()) t",
    "SELECT 1 FROM JSON_TABLE(f1(), '$' PASSING f2() AS x COLUMNS (a int PATH '$' DEFAULT f3() ON EMPTY DEFAULT f4() ON ERROR, NESTED '$' COLUMNS (b int DEFAULT f5() ON ERROR))) t",
    "SELECT JSON_OBJECT(f1(): f2()), JSON_ARRAY(f3(), f4()), JSON_ARRAY(SELECT f5() FROM r1), JSON_OBJECTAGG(f6(): f7()), JSON_ARRAYAGG(f8() ORDER BY f9()) FILTER (WHERE f10())",
    "SELECT JSON_VALUE(f1(), f2() PASSING f3() AS x DEFAULT f4() ON EMPTY), JSON_QUERY(f5(), '$'), JSON_EXISTS(f6(), '$'), JSON(f7()), JSON_SCALAR(f8()), JSON_SERIALIZE(f9()), f10() IS JSON",
    "SELECT xmlelement(NAME a, xmlattributes(f1() AS b), f2()), xmlforest(f3() AS c), xmlpi(NAME d, f4()), xmlroot(f5(), VERSION f6()), xmlserialize(CONTENT f7() AS text), xmlparse(DOCUMENT f8())",
    "SELECT f1() IN (f2(), (SELECT f3())), f4() = ANY (f5()), f6() BETWEEN f7() AND f8(), f9() LIKE f10() ESCAPE f11(), f12() IS DISTINCT FROM f13(), (f14(), f15()) OVERLAPS (f16(), f17())",
    "SELECT f1() IS NULL, NOT f2() AND f3() OR f4() IS TRUE, f5() COLLATE \"C\", f6() AT TIME ZONE f7(), extract(year FROM f8()), f9() OPERATOR(a.+) f10(), - f11()",
    "SELECT EXISTS (TABLE r1), f1() IN (SELECT f2() FROM r2), f3() = ALL (SELECT f4() FROM r3), ARRAY(SELECT f5() FROM r4), (f6(), 1) = (SELECT f7(), 2 FROM r5)",
    "WITH RECURSIVE a AS (SELECT f1() FROM r1 UNION SELECT f2() FROM a) SEARCH DEPTH FIRST BY x SET y CYCLE x SET z USING w, b AS (DELETE FROM r2 WHERE f5() RETURNING f6()) SELECT 1 FROM a, b",
    "(SELECT f1() FROM r1 ORDER BY f2()) UNION ALL (VALUES (f3()), (f4())) EXCEPT (SELECT f5() FROM r2 LIMIT f6()) ORDER BY f7()",
    "INSERT INTO r1 (a, b[f1()], c.d) SELECT f2() FROM r2 ON CONFLICT (f3()) WHERE f4() DO UPDATE SET a = f5(), (b, c) = (f6(), f7()), (d, e) = (SELECT f8(), f9() FROM r3) WHERE f10() RETURNING f11()",
    "INSERT INTO r1 VALUES (f1(), DEFAULT), (f2(), 3)",
    "UPDATE r1 SET a = f1(), b[f2()] = f3(), (c, d) = ROW(f4(), f5()) FROM r2, LATERAL f6() WHERE f7() RETURNING WITH (OLD AS o) f8(), o.a",
    "DELETE FROM r1 USING r2, r3 JOIN r4 ON f1() WHERE f2() RETURNING f3()",
    "MERGE INTO r1 USING (SELECT f1() FROM r2) s ON f2() WHEN MATCHED AND f3() THEN UPDATE SET a = f4(), (b, c) = (SELECT f5(), f6() FROM r3) WHEN NOT MATCHED BY SOURCE AND f7() THEN DELETE WHEN NOT MATCHED THEN INSERT (a) VALUES (f8()) RETURNING f9(), merge_action()",
    "COPY (SELECT f1() FROM r1) TO STDOUT",
    "COPY r1 FROM STDIN WHERE f1()",
    "EXPLAIN (ANALYZE) SELECT f1() FROM r1",
    "CREATE TABLE r1 AS SELECT f1() FROM r2",
    "CREATE VIEW r1 AS SELECT f1() FROM r2",
    "SELECT f1() INTO r1 FROM r2",
    "EXECUTE p(f1(), f2())",
    "CALL f1(f2())",
];

#[test]
fn the_walk_reaches_every_place_that_the_tree_has() {
    for text in PLACES {
        let tree = parse::parse(text, &LexSettings::default()).expect(text);
        let script = super::script(&tree, text);
        let statement = &script.statements[0];
        assert_eq!(statement.opaque, None, "{text}");
        let found = Inventory::of(&tree);
        let functions: HashSet<&str> = statement
            .functions
            .iter()
            .map(|function| function.name.as_str())
            .collect();
        let there: HashSet<&str> = found.functions.iter().map(|f| f.name.as_str()).collect();
        assert!(
            there.is_subset(&functions),
            "{text}: {:?}",
            there.difference(&functions)
        );
        let relations: HashSet<&str> = statement
            .relations
            .iter()
            .map(|relation| relation.name.as_str())
            .collect();
        for relation in &found.relations {
            let cte = matches!(relation.name.as_str(), "a" | "b");
            assert!(
                cte || relations.contains(relation.name.as_str()),
                "{text}: {relation:?}"
            );
        }
    }
}

#[test]
fn the_lineage_reaches_every_function_that_is_listed() {
    struct Nothing;
    impl crate::Oracle for Nothing {
        fn has_own_equality(&self) -> bool {
            false
        }

        fn has_system_columns(&self, _: usize) -> bool {
            false
        }

        fn columns(&self, _: usize) -> Option<&[crate::Column]> {
            Some(&[])
        }
        fn fills(&self, _: usize, _: Option<usize>) -> bool {
            false
        }

        fn is_trusted(&self, _: usize) -> bool {
            false
        }

        fn keeps(&self, _: usize) -> bool {
            false
        }

        fn is_redefined(&self, _: usize) -> bool {
            false
        }

        fn is_harmless_field(&self, _: &str) -> bool {
            true
        }
    }
    for text in PLACES {
        let tree = parse::parse(text, &LexSettings::default()).expect(text);
        let script = super::script(&tree, text);
        let statement = &script.statements[0];
        let traced = statement.lineage.trace(&Nothing);
        for (index, function) in statement.functions.iter().enumerate() {
            let is_numbered = function.name.starts_with('f')
                && function.name[1..]
                    .chars()
                    .all(|letter| letter.is_ascii_digit());
            let reached = traced.touched.contains(&crate::Origin::Function(index));
            assert!(reached || !is_numbered, "{text}: {}", function.name);
        }
    }
}
