//! Which service is meant by who cancels or steers, where none is named.

use hornero_model::ServiceName;
use hyper::StatusCode;

use crate::answer::ApiRefusal;

/// The service that is named, or the one that something is under way for; which of several is not for us to say.
pub fn chosen(
    named: Option<ServiceName>,
    under_way: &[ServiceName],
    command: &str,
) -> Result<ServiceName, ApiRefusal> {
    match (named, under_way) {
        (Some(service), _) => Ok(service),
        (None, [service]) => Ok(service.clone()),
        (None, []) => {
            let text = "nothing is under way in this home";
            Err(ApiRefusal::new(StatusCode::NOT_FOUND, "nothing_under_way", text))
        }
        (None, [first, ..]) => {
            let names: Vec<String> = under_way.iter().map(|name| format!("`{name}`")).collect();
            let text = format!("something is under way for {}", names.join(", "));
            let refusal = ApiRefusal::new(StatusCode::CONFLICT, "several_under_way", text);
            Err(refusal.hint(format!("name one, as in `hornero {command} {first}`")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_is_under_way_need_not_be_named_and_of_several_one_must() {
        let [data, site] = ["data", "site"].map(|name| ServiceName::new(name).unwrap());
        let chosen = |named: Option<&ServiceName>, under_way: &[&ServiceName]| {
            let under_way: Vec<ServiceName> = under_way.iter().copied().cloned().collect();
            chosen(named.cloned(), &under_way, "cancel").map_err(|refusal| format!("{refusal:?}"))
        };
        assert_eq!(chosen(None, &[&site]), Ok(site.clone()));
        assert_eq!(chosen(Some(&data), &[&data, &site]), Ok(data.clone()));
        let none = chosen(None, &[]).unwrap_err();
        assert!(none.contains("nothing is under way"), "{none}");
        let several = chosen(None, &[&data, &site]).unwrap_err();
        assert!(several.contains("`data`, `site`") && several.contains("cancel data"), "{several}");
    }
}
