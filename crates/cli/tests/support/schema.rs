//! A document held against its JSON Schema.

use serde_json::Value;

/// Fails the test where the document is not as the schema says.
pub fn holds(schema: &str, document: &Value) {
    let schema: Value = serde_json::from_str(schema).expect("the schema is JSON");
    let mut wrong = Vec::new();
    validate(&schema, &schema, document, "$", &mut wrong);
    assert_eq!(wrong, Vec::<String>::new());
}

/// The part of JSON Schema that the contract uses. Anything else in a schema fails the test.
fn validate(root: &Value, schema: &Value, value: &Value, at: &str, wrong: &mut Vec<String>) {
    let Some(rules) = schema.as_object() else {
        return wrong.push(format!("{at}: a schema that is no object"));
    };
    for (rule, said) in rules {
        let good = match rule.as_str() {
            "$schema" | "title" | "description" | "$defs" => true,
            "$ref" => {
                let path = said.as_str().unwrap_or("").trim_start_matches('#');
                match root.pointer(path) {
                    Some(target) => {
                        validate(root, target, value, at, wrong);
                        true
                    }
                    None => false,
                }
            }
            "const" => value == said,
            "enum" => said.as_array().is_some_and(|all| all.contains(value)),
            "type" => {
                let names: Vec<&str> = match said {
                    Value::String(one) => vec![one],
                    Value::Array(all) => all.iter().filter_map(Value::as_str).collect(),
                    _ => Vec::new(),
                };
                names.iter().any(|name| match *name {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "integer" => value.is_i64() || value.is_u64(),
                    "number" => value.is_number(),
                    "null" => value.is_null(),
                    _ => false,
                })
            }
            "minimum" => value.as_i64() >= said.as_i64(),
            "required" => said
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .all(|key| !value.is_object() || value.get(key).is_some()),
            "additionalProperties" => {
                said == &Value::Bool(false)
                    && value.as_object().into_iter().flatten().all(|(key, _)| {
                        schema
                            .get("properties")
                            .is_some_and(|known| known.get(key).is_some())
                    })
                    || !value.is_object()
            }
            "properties" => {
                for (key, below) in said.as_object().into_iter().flatten() {
                    if let Some(inner) = value.get(key) {
                        validate(root, below, inner, &format!("{at}.{key}"), wrong);
                    }
                }
                true
            }
            "items" => {
                for (i, inner) in value.as_array().into_iter().flatten().enumerate() {
                    validate(root, said, inner, &format!("{at}[{i}]"), wrong);
                }
                true
            }
            _ => false,
        };
        if !good {
            wrong.push(format!("{at}: {rule} {said} does not hold for {value}"));
        }
    }
}
