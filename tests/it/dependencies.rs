//! Packages from a real package registry, installed by the real npm in the container.

use crate::support::engine::{Fixture, Runs as _};
use crate::support::packages::{Package, PackageRegistry, Volume, job_with};

const PLAIN: Package = Package {
    manifest: r#"{"name":"plain","version":"1.2.3","main":"index.js"}"#,
    files: &[("index.js", "module.exports = text => text + '!'")],
};
const USER: Package = Package {
    manifest: r#"{"name":"user","version":"1.0.0","dependencies":{"plain":"^1.0.0"}}"#,
    files: &[(
        "index.js",
        "module.exports = text => require('plain')(text + '?')",
    )],
};
const SCOPED: Package = Package {
    manifest: r#"{"name":"@scope/esm","version":"2.0.0","type":"module","exports":"./index.js"}"#,
    files: &[(
        "index.js",
        "import plain from 'plain'; export const shout = plain;",
    )],
};

const LOAD: &str = "const user = require('user');
    const { shout } = await import('@scope/esm');
    return [user('a'), shout('b'), require.resolve('plain').slice(-27)]";

#[test]
fn packages_are_required_and_imported() {
    let registry = PackageRegistry::start(&[PLAIN, USER, SCOPED]);
    let volume = Volume::new();
    let fixture = Fixture::start(volume.settings(registry.npm()));
    let job = job_with(LOAD, &["user@1.x", "@scope/esm@latest", "plain@^1.2.0"]);
    assert_eq!(
        fixture.value_of(&job),
        r#"["a?!","b!","/node_modules/plain/index.js"]"#
    );
}
