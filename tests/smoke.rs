use subrosa::*;
#[test]
fn smoke() -> Result<(), Error> {
    let now = UnixTime::now();
    let alice = IdentityKeyPair::generate();
    let bob = IdentityKeyPair::generate();
    let mut bob_prekeys = PreKeys::generate(&bob, 10, now);
    let bundle = bob_prekeys.bundle().to_bytes();
    let mut a = Session::initiate(&alice, &PreKeyBundle::from_bytes(&bundle)?.verify(now)?)?;
    let sealed = a.encrypt(b"hello")?;
    let (mut b, text) = Session::accept(&bob, &mut bob_prekeys, &sealed)?;
    assert_eq!(text, b"hello");
    for i in 0..20u8 {
        let text = a.decrypt(&b.encrypt(&[i; 3])?)?;
        assert_eq!(text, [i; 3]);
        let key = StorageKey::generate();
        let s = a.seal(&key);
        let h = a.seal_hot(&key).len();
        println!("{} {}", s.len(), h);
        a = Session::open(&key, &s)?;
        if i % 3 == 0 {
            let m = a.encrypt(b"x")?;
            println!("msg {}", m.len());
            assert_eq!(b.decrypt(&m)?, b"x");
        }
    }
    println!("{}", a.peer_identity());
    Ok(())
}
