//! B01: an id has no invisible character, by Unicode's own tables.

use tower_user_scope::{UserId, context::IdErrorKind};

/// Characters that are refused in ids although Unicode's tables do not require it: characters that are
/// not visible, and unassigned ones that may get a meaning later.
fn is_refused_besides(c: char) -> bool {
    matches!(
        c,
        '\u{2800}' | '\u{FF00}'..='\u{FFFD}' | '\u{13430}'..='\u{13455}' | '\u{1D173}'..='\u{1D17A}'
    )
}

#[test]
fn b01_characters_that_nobody_sees_are_those_of_unicodes_own_tables() {
    use icu_properties::{
        CodePointMapData, CodePointSetData,
        props::{
            BidiControl, DefaultIgnorableCodePoint, EastAsianWidth, GeneralCategory,
            NoncharacterCodePoint, WhiteSpace,
        },
    };

    let sets = [
        CodePointSetData::new::<DefaultIgnorableCodePoint>(),
        CodePointSetData::new::<NoncharacterCodePoint>(),
        CodePointSetData::new::<WhiteSpace>(),
        CodePointSetData::new::<BidiControl>(),
    ];
    let categories = CodePointMapData::<GeneralCategory>::new();
    let widths = CodePointMapData::<EastAsianWidth>::new();
    let mut wrong = Vec::new();
    for c in '\0'..=char::MAX {
        let category = matches!(
            categories.get(c),
            GeneralCategory::Control | GeneralCategory::Format
        );
        // The won sign is narrow already.
        let width = matches!(
            widths.get(c),
            EastAsianWidth::Fullwidth | EastAsianWidth::Halfwidth
        ) && c != '\u{20A9}';
        let unseen = category || width || sets.iter().any(|set| set.contains(c));
        let refused = match UserId::try_from(format!("a{c}b")) {
            Err(error) => matches!(error.kind(), IdErrorKind::ForbiddenCharacter { at: 1 }),
            Ok(_) => false,
        };
        if refused != (unseen && c != ' ') && !(refused && is_refused_besides(c)) {
            wrong.push((format!("U+{:04X}", u32::from(c)), refused));
        }
    }
    assert!(wrong.is_empty(), "refused or not, and wrongly: {wrong:?}");
}
