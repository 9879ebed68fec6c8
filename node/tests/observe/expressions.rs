//! What the expressions of panels and alerts look at.

/// Every metric of ours in an expression, with the labels that are asked of it.
pub fn selectors(expression: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (start, _) in expression.match_indices("carrel_") {
        let is_within = expression[..start].ends_with(|before: char| before.is_alphanumeric() || before == '_');
        let rest = &expression[start..];
        let name = rest.find(|after: char| !after.is_alphanumeric() && after != '_').unwrap_or(rest.len());
        let labels = rest[name..].starts_with('{').then(|| rest.find('}')).flatten();
        // The label of that name has no metric.
        if !is_within && &rest[..name] != "carrel_cluster" {
            found.push(rest[..labels.map_or(name, |end| end + 1)].to_owned());
        }
    }
    found
}

/// The same series, whatever the code, class or outlook in their labels.
pub fn without_values(query: &str) -> String {
    let Some((name, rest)) = query.split_once('{') else { return query.to_owned() };
    let Some((matchers, rest)) = rest.split_once('}') else { return query.to_owned() };
    let label = |matcher: &str| matcher.split(['=', '!']).next().unwrap_or_default().to_owned();
    let present: Vec<String> = matchers.split("\",").map(|matcher| format!("{}!=\"\"", label(matcher))).collect();
    format!("{name}{{{}}}{rest}", present.join(","))
}

#[test]
fn selectors_are_found_in_expressions() {
    assert_eq!(
        selectors(
            r#"sum by (BY) (rate(carrel_a_total{NODES,code=~"A|B"}[5m])) / max by (carrel_cluster) (carrel_b{NODES}) - carrel_c > 1"#
        ),
        [r#"carrel_a_total{NODES,code=~"A|B"}"#, "carrel_b{NODES}", "carrel_c"]
    );
    assert_eq!(without_values(r#"f(a{x="1",y=~"b|c"}[1m])"#), r#"f(a{x!="",y!=""}[1m])"#);
}
