//! Where a file declares what is found wrong after it was read.

use hornero_model::{ImageName, ServiceName};
use hornero_spec::Places;

const FILE: &str = r#"image "web" {
  packages = [
    "curl",
    "ngnix",
  ]
}
image "made" {
  packages = concat(["a"], ["b"])
}
service "site" {
  route {
    listen = 80
    redirect_to = 443
  }
  route {
    listen  = 443
    tls     = { certificate = "/c.pem", key = "/k.pem" }
  }
  route {
    listen = 444
    tls {
      key = "/k.pem"
    }
  }
}
"#;

#[test]
fn routes_and_packages_are_found_where_they_are_written() {
    let places = Places::of(FILE.as_bytes()).unwrap();
    let at = |place: hornero_spec::Place| (place.line, place.column);
    let package = |image: &str, package: &str| {
        places.package(&ImageName::new(image).unwrap(), package).map(at)
    };
    assert_eq!(package("web", "ngnix"), Some((4, 5)));
    assert_eq!(package("web", "elsewhere"), Some((2, 14)), "the list");
    assert_eq!(package("made", "b"), Some((8, 14)), "the expression that makes it");
    assert_eq!(package("none", "b"), None);
    let service = ServiceName::new("site").unwrap();
    let route = |index, key: &[&str]| places.route(&service, index, key).map(at);
    assert_eq!(route(0, &["listen"]), Some((12, 14)));
    assert_eq!(route(0, &["address"]), Some((11, 3)), "the route, which does not set it");
    assert_eq!(route(1, &["tls", "key"]), Some((17, 47)));
    assert_eq!(route(2, &["tls", "key"]), Some((22, 13)));
    assert_eq!(route(2, &["tls", "certificate"]), Some((21, 5)), "the block that lacks it");
    assert_eq!(route(3, &["listen"]), None);
    assert_eq!(Places::of(b"service {").map(|_| ()), None);
}
