//! Keys of a `config.json`.

use serde_json::Value;

/// The largest size that is believed.
const LARGEST: u64 = 1 << 24;

/// The keys of a `config.json`. A key that is absent takes its family's default; `null` says that there is none.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a>(pub &'a Value);

/// What a key says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Given<T> {
    /// Nothing: it is not there.
    Absent,
    /// That there is none.
    Null,
    /// This.
    Value(T),
}

impl<T> Given<T> {
    /// The value; `absent` where the key is not there, and `null` where it is null.
    pub fn or(self, absent: T, null: T) -> T {
        match self {
            Self::Absent => absent,
            Self::Null => null,
            Self::Value(value) => value,
        }
    }
}

impl<'a> Fields<'a> {
    /// The value of a key, if it is there and not null.
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    /// What a key says, read by `read`.
    ///
    /// # Errors
    /// It is something else; names the key.
    pub fn given<T>(&self, key: &str, what: &str, read: impl Fn(&'a Value) -> Option<T>) -> Result<Given<T>, String> {
        match self.0.get(key) {
            None => Ok(Given::Absent),
            Some(Value::Null) => Ok(Given::Null),
            Some(value) => match read(value) {
                Some(value) => Ok(Given::Value(value)),
                None => Err(format!("{key} is {value}, which is no {what}")),
            },
        }
    }

    /// What a key says about a size: a whole number from 1.
    ///
    /// # Errors
    /// It is no size, or too large a one.
    pub fn given_size(&self, key: &str) -> Result<Given<usize>, String> {
        let size = |value: &Value| value.as_u64().filter(|size| (1..=LARGEST).contains(size)).map(|size| size as usize);
        self.given(key, "size", size)
    }

    /// A size that has to be there.
    ///
    /// # Errors
    /// It is missing, or no size.
    pub fn size(&self, key: &str) -> Result<usize, String> {
        match self.given_size(key)? {
            Given::Value(size) => Ok(size),
            Given::Absent | Given::Null => Err(format!("{key} is missing")),
        }
    }

    /// A number, or its default.
    ///
    /// # Errors
    /// It is no number.
    pub fn number_or(&self, key: &str, default: f64) -> Result<f64, String> {
        Ok(self.given(key, "number", Value::as_f64)?.or(default, default))
    }

    /// A switch, or its default.
    ///
    /// # Errors
    /// It is no switch.
    pub fn flag_or(&self, key: &str, default: bool) -> Result<bool, String> {
        Ok(self.given(key, "truth value", Value::as_bool)?.or(default, default))
    }

    /// A word, or its default.
    ///
    /// # Errors
    /// It is no word.
    pub fn word_or(&self, key: &str, default: &'a str) -> Result<&'a str, String> {
        Ok(self.given(key, "word", Value::as_str)?.or(default, default))
    }

    /// The keys of an object within; those of an empty one if it is not there.
    pub fn within(&self, key: &str) -> Fields<'a> {
        const NOTHING: &Value = &Value::Null;
        Fields(self.get(key).filter(|value| value.is_object()).unwrap_or(NOTHING))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn absent_is_not_null() {
        let json = json!({"two": 2, "none": null, "zero": 0, "large": 1_u64 << 25, "word": "x", "in": {"on": true}});
        let fields = Fields(&json);
        assert_eq!(fields.given_size("two"), Ok(Given::Value(2)));
        assert_eq!((fields.given_size("none"), fields.given_size("no")), (Ok(Given::Null), Ok(Given::Absent)));
        assert_eq!((Given::Null.or(1, 2), Given::Absent.or(1, 2)), (2, 1));
        for bad in ["zero", "large", "word"] {
            assert!(fields.size(bad).unwrap_err().contains(bad));
        }
        assert_eq!(fields.size("no").unwrap_err(), "no is missing");
        assert!(fields.within("in").flag_or("on", false).unwrap());
        assert!(!fields.within("none").flag_or("on", false).unwrap());
        assert!(fields.flag_or("two", false).unwrap_err().contains("two"));
    }
}
