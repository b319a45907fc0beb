//! The function `format`, with the verbs of HCL that a configuration needs.

use crate::{
    function::{Arguments, CallError, sized},
    value::{Value, text_of},
};

/// Widths and precisions beyond a line's length are slips of the pen.
const WIDTH_MAX: usize = 256;

/// `format(spec, values...)`: `%s`, `%v`, `%q`, `%d`, `%x`, `%f` with flags `-` and `0`, width and precision; `%%`.
pub(crate) fn format(arguments: &Arguments) -> Result<Value, CallError> {
    let spec = arguments.text(0)?;
    let mut out = String::new();
    let mut letters = spec.chars().peekable();
    let mut next = 1;
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        let verb = Verb::read(&mut letters)?;
        if verb.letter == '%' {
            out.push('%');
            continue;
        }
        if next >= arguments.len() {
            let message = format!("`%{}` has no value: there are only {}", verb.letter, next - 1);
            return Err(CallError::at(0, message));
        }
        verb.write(&mut out, arguments, next)?;
        sized(out.len() as u64)?;
        next += 1;
    }
    if next < arguments.len() {
        return Err(CallError::at(next, "no verb takes this value"));
    }
    Ok(Value::string(out))
}

struct Verb {
    letter: char,
    left: bool,
    zero: bool,
    width: usize,
    precision: Option<usize>,
}

impl Verb {
    fn read(letters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Self, CallError> {
        let mut verb = Self { letter: ' ', left: false, zero: false, width: 0, precision: None };
        while let Some(flag) = letters.next_if(|letter| matches!(letter, '-' | '0')) {
            verb.left |= flag == '-';
            verb.zero |= flag == '0';
        }
        verb.width = number(letters)?;
        if letters.next_if_eq(&'.').is_some() {
            verb.precision = Some(number(letters)?);
        }
        verb.letter =
            letters.next().ok_or_else(|| CallError::at(0, "it ends in the middle of a verb"))?;
        Ok(verb)
    }

    fn write(&self, out: &mut String, from: &Arguments, at: usize) -> Result<(), CallError> {
        let text = match self.letter {
            's' | 'v' => text_of(from.value(at))
                .map(|text| match self.precision {
                    Some(most) => text.chars().take(most).collect(),
                    None => text.to_string(),
                })
                .ok_or_else(|| {
                    CallError::at(at, format!("{} has no text", from.value(at).kind()))
                })?,
            'q' => format!("{:?}", from.text(at)?),
            'd' | 'x' => {
                let number = from.number(at)?;
                if number.fract() != 0.0 {
                    return Err(CallError::at(at, format!("`{number}` is not a whole number")));
                }
                let whole = number as i64;
                let sign = if whole < 0 { "-" } else { "" };
                let size = whole.unsigned_abs();
                if self.letter == 'd' { format!("{sign}{size}") } else { format!("{sign}{size:x}") }
            }
            'f' => format!("{:.*}", self.precision.unwrap_or(6), from.number(at)?),
            other => {
                return Err(CallError::at(
                    0,
                    format!("`%{other}` is none of `%s`, `%v`, `%q`, `%d`, `%x`, `%f`, `%%`"),
                ));
            }
        };
        let missing = self.width.saturating_sub(text.chars().count());
        let number = matches!(self.letter, 'd' | 'x' | 'f');
        if self.left {
            out.push_str(&text);
            out.extend(std::iter::repeat_n(' ', missing));
        } else if self.zero && number {
            let digits = text.strip_prefix('-').unwrap_or(&text);
            out.push_str(&text[..text.len() - digits.len()]);
            out.extend(std::iter::repeat_n('0', missing));
            out.push_str(digits);
        } else {
            out.extend(std::iter::repeat_n(' ', missing));
            out.push_str(&text);
        }
        Ok(())
    }
}

fn number(letters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<usize, CallError> {
    let mut number = 0_usize;
    while let Some(digit) = letters.next_if(char::is_ascii_digit) {
        number = number * 10 + digit.to_digit(10).unwrap_or(0) as usize;
        if number > WIDTH_MAX {
            return Err(CallError::at(0, format!("a width of more than {WIDTH_MAX} is too large")));
        }
    }
    Ok(number)
}
