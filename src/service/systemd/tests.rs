//! The units as they are installed: the shipped ones, with what is put in.

use super::*;

#[test]
fn the_installed_units_are_the_shipped_ones() {
    for system in [false, true] {
        let systemd = Systemd::new(&spec(None), system);
        for unit in [SERVICE, DATA, ADMIN] {
            let shipped = if system { unit.system } else { unit.user };
            assert_eq!(systemd.render(&unit, &spec(None)), shipped);
        }
    }
}

#[test]
fn a_unit_differs_from_the_shipped_one_in_program_profile_and_addresses_alone() {
    let spec = ServiceSpec {
        program: "/opt/np/nexudus-proxy".into(),
        arguments: ["--profile".to_owned(), "work".to_owned()].to_vec(),
        tcp: vec!["127.0.0.1:7000".parse().unwrap()],
        ..spec(Some("work"))
    };
    let systemd = Systemd::new(&spec, false);

    let changed = |unit: &Unit| {
        let (rendered, shipped) = (systemd.render(unit, &spec), unit.user);
        let is_new = |line: &&str| !shipped.lines().any(|known| known == *line);
        rendered.lines().filter(is_new).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(
        changed(&SERVICE),
        [
            "Requires=nexudus-proxy@work.socket nexudus-proxy-admin@work.socket",
            "After=nexudus-proxy@work.socket nexudus-proxy-admin@work.socket",
            "Sockets=nexudus-proxy@work.socket nexudus-proxy-admin@work.socket",
            "ExecStart=/opt/np/nexudus-proxy --profile work serve",
            "ExecReload=/opt/np/nexudus-proxy --profile work reload",
            "Also=nexudus-proxy@work.socket nexudus-proxy-admin@work.socket",
        ]
    );
    assert_eq!(
        changed(&DATA),
        ["ListenStream=127.0.0.1:7000", "ListenStream=%t/nexudus-proxy/proxy-work.sock",]
    );
    assert_eq!(
        changed(&ADMIN),
        ["ListenStream=%t/nexudus-proxy/admin-work.sock", "Service=nexudus-proxy@work.service",]
    );
}

#[test]
fn a_program_path_that_contains_the_shipped_one_is_inserted_once() {
    let program = "/usr/local/bin/nexudus-proxy-0.1.0";
    let spec = ServiceSpec {
        program: program.into(),
        arguments: ["--config".to_owned(), "/etc/nexudus-proxy.socket/c.toml".to_owned()].into(),
        ..spec(Some("work"))
    };
    let systemd = Systemd::new(&spec, false);

    let put_in = |line: &str| systemd.personalize(line, &spec);

    assert_eq!(
        put_in("ExecStart=/usr/local/bin/nexudus-proxy serve"),
        format!("ExecStart={program} --config /etc/nexudus-proxy.socket/c.toml serve")
    );
    assert_eq!(put_in("ExecPaths=/usr/local/bin/nexudus-proxy"), format!("ExecPaths={program}"));
}

#[test]
fn a_program_that_a_unit_cannot_name_or_see_is_refused() {
    let own = Systemd::new(&spec(None), false);
    let system = Systemd::new(&spec(None), true);

    let is_good = |systemd: &Systemd, program: &str| {
        let spec = ServiceSpec { program: program.into(), ..spec(None) };
        systemd.validate(&spec).is_ok()
    };
    assert!(is_good(&own, "/home/ana/.cargo/bin/nexudus-proxy"));
    assert!(!is_good(&own, "/home/ana/my programs/nexudus-proxy"));
    assert!(!is_good(&own, "/home/%u/nexudus-proxy"));
    assert!(is_good(&system, "/usr/local/bin/nexudus-proxy"));
    assert!(!is_good(&system, "/home/ana/.cargo/bin/nexudus-proxy"));
}

#[test]
fn a_configuration_or_a_socket_that_a_unit_cannot_name_is_refused() {
    for system in [false, true] {
        let refused = |path: &str| {
            let arguments = ["--config".to_owned(), path.to_owned()].to_vec();
            let argument = ServiceSpec { arguments, ..spec(None) };
            let socket = ServiceSpec { unix: SocketPath::At(path.into()), ..spec(None) };
            [argument, socket].map(|spec| match Systemd::new(&spec, system).validate(&spec) {
                Err(Error::Word { word }) => Some(word),
                other => other.map(|()| None).unwrap(),
            })
        };
        for path in ["/home/ana/my configs/np", "/home/%u/np", "/home/ana/$np"] {
            assert_eq!(refused(path), [(); 2].map(|()| Some(path.to_owned())));
        }
        // Only the program must be visible inside the sandbox.
        assert_eq!(refused("/home/ana/np-1.2_3"), [None, None]);
    }
}

#[test]
fn the_units_of_a_package_are_used_where_nothing_differs() {
    let root = tempfile::tempdir().unwrap();
    let (own, packaged) = (root.path().join("own"), root.path().join("packaged"));
    let mut systemd = Systemd::new(&spec(None), true);
    (systemd.directory, systemd.packaged) = (own.clone(), packaged.clone());
    fs::create_dir(&packaged).unwrap();
    let spec = ServiceSpec { program: "/usr/bin/nexudus-proxy".into(), ..spec(None) };
    for unit in UNITS {
        fs::write(packaged.join(systemd.name(unit)), systemd.render(unit, &spec)).unwrap();
    }
    let put = |unit: &Unit, spec: &ServiceSpec| {
        let mut events = vec![];
        let is_other = systemd.put(unit, spec, &mut |event| events.push(event)).unwrap();
        (is_other, events)
    };
    let (ours, theirs) = (own.join("nexudus-proxy.socket"), packaged.join("nexudus-proxy.socket"));

    assert_eq!(put(&DATA, &spec), (false, vec![ServiceEvent::Kept(theirs.clone())]));
    assert_eq!(systemd.files(), UNITS.map(|unit| packaged.join(systemd.name(unit))));

    // Another address takes a file, and the sockets are opened again.
    let elsewhere = ServiceSpec { tcp: vec!["127.0.0.1:7000".parse().unwrap()], ..spec.clone() };
    assert_eq!(put(&DATA, &elsewhere), (true, vec![ServiceEvent::Wrote(ours.clone())]));
    assert_eq!(systemd.files()[1], ours);
    let back = vec![ServiceEvent::Removed(ours), ServiceEvent::Kept(theirs)];
    assert_eq!(put(&DATA, &spec), (true, back));
}

fn spec(profile: Option<&str>) -> ServiceSpec {
    ServiceSpec::shipped(profile)
}
