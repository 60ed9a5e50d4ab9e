use super::*;

#[test]
fn a_fresh_database_is_zookeepers() {
    let database = Database::new(1, Mutants::NONE);
    assert_eq!(database.digest(), 0x51c6_d660);
    assert_eq!(database.tree().node_count(), 5);
    assert_eq!(database.tree().data_bytes(), 44);
    let root = database.tree().get("/").unwrap();
    assert_eq!(root.data(), Some(&b""[..]));
    let stat = Stat {
        cversion: -1,
        num_children: 1,
        ..Stat::default()
    };
    assert_eq!(root.stat(), stat);
    let zookeeper = database.tree().get("/zookeeper").unwrap();
    assert_eq!(
        zookeeper.stat(),
        Stat {
            cversion: -2,
            num_children: 2,
            ..Stat::default()
        }
    );
    assert!(zookeeper.children().eq(["config", "quota"]));
    assert_eq!(
        database.tree().get("/zookeeper/quota").unwrap().stat(),
        Stat::default()
    );
    let config = database.tree().get("/zookeeper/config").unwrap();
    assert_eq!(
        config.stat(),
        Stat {
            aversion: -1,
            ..Stat::default()
        }
    );
    assert_eq!(config.acl(), [Acl::world(perms::READ)]);
}
