//! Random schemas and values: our verdict must be that of the crate `jsonschema`.

use dynamic_mcp::schema::{Schema, SchemaFault};
use peers::random::Random;
use peers::schemas::{document, value};

const SCHEMAS: usize = 4000;
const VALUES: usize = 15;

#[test]
fn same_verdicts_on_random_schemas() {
    let mut random = Random::new(0x5EED);
    let (mut fitting, mut unfitting, mut circular) = (0, 0, 0);
    for _ in 0..SCHEMAS {
        let text = document(&mut random);
        let ours = match Schema::compile(&text) {
            Ok(ours) => ours,
            Err(error) => {
                let is_circle = matches!(&error.fault, SchemaFault::Invalid(reason)
                    if reason.contains("refers to itself"));
                assert!(is_circle, "{error} in {text}");
                circular += 1;
                continue;
            }
        };
        let theirs = jsonschema::draft202012::new(&text)
            .unwrap_or_else(|error| panic!("oracle: {error} in {text}"));
        for _ in 0..VALUES {
            let instance = value(&mut random, 3);
            let verdict = ours.validate(&instance);
            assert_eq!(
                verdict.is_ok(),
                theirs.is_valid(&instance),
                "schema {text}\nvalue {instance}\nours {verdict:?}"
            );
            match verdict {
                Ok(()) => fitting += 1,
                Err(_) => unfitting += 1,
            }
        }
    }
    println!("{fitting} values fitted, {unfitting} did not; {circular} schemas were circular");
    assert!(fitting + unfitting >= 20_000);
    assert!(
        fitting >= 5_000 && unfitting >= 5_000,
        "one verdict hardly occurs"
    );
}
