//! `docs/isa.md` is what the table says. `BLESS=1` writes it.

use std::fs;
use std::path::Path;

#[test]
fn the_reference_page_is_fresh() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/isa.md");
    let page = lpu_isa::reference();
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, &page).unwrap();
    }
    assert!(
        fs::read_to_string(&path).unwrap_or_default() == page,
        "docs/isa.md is stale; run the tests of lpu-isa with BLESS=1"
    );
    for row in lpu_isa::TABLE {
        assert!(page.contains(&format!("### `{}", row.mnemonic)));
    }
}
