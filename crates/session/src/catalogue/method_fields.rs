//! The settings of methods as a form shows them.

use serde_json::json;
use stratune_peft::{Has, MethodKind, Takes};
use stratune_protocol::{Field, FieldKind, Range};

/// The settings of a method, in the order in which they are shown.
pub fn of(kind: MethodKind) -> Vec<Field> {
    let mut settings: Vec<&Has> = kind.method().settings.iter().collect();
    settings.sort_by_key(|has| has.setting);
    settings.into_iter().filter_map(field).collect()
}

/// A setting of a method; none for what belongs to files and command lines.
fn field(has: &Has) -> Option<Field> {
    let number = |range: Range| FieldKind::Number(range);
    let kind = match has.takes {
        Takes::Overrides => return None,
        Takes::Targets => FieldKind::Targets,
        Takes::Count(least) => number(Range { whole: true, least: Some(least as f64), ..Range::default() }),
        Takes::Positive => number(Range { above: Some(0.0), ..Range::default() }),
        Takes::NotNegative => number(Range { least: Some(0.0), ..Range::default() }),
        Takes::Share => number(Range { above: Some(0.0), most: Some(1.0), ..Range::default() }),
        Takes::Rest => number(Range { least: Some(0.0), below: Some(1.0), ..Range::default() }),
        Takes::Words(words) => FieldKind::Choice(words.iter().map(|word| (json!(word), word.to_string())).collect()),
        Takes::Bits(bits) => FieldKind::Choice(bits.iter().map(|bits| (json!(bits), format!("{bits} bits"))).collect()),
        Takes::Flag => FieldKind::Tick,
    };
    Some(Field {
        path: format!("method.{}", has.setting.name()),
        label: has.label.into(),
        help: has.help.into(),
        kind,
        advanced: has.advanced,
        only: None,
    })
}
