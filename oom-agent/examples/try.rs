use oom_agent::source::bpf::{decode::decode, load::*};
fn main() {
    let t = std::time::Instant::now();
    let loaded = load(Options {
        ring_bytes: 1 << 20,
        debug_log: false,
    });
    eprintln!("{:?}", t.elapsed());
    match loaded {
        Ok(mut l) => {
            eprintln!("{:?} {:?}", l.tier, l.notes);
            let t = std::time::Instant::now();
            let sy =
                oom_agent::source::bpf::stack::Symbols::read(std::io::BufReader::with_capacity(
                    65536,
                    std::fs::File::open("/proc/kallsyms").unwrap(),
                ))
                .unwrap();
            eprintln!("kallsyms {:?}", t.elapsed());
            eprintln!(
                "{}",
                std::fs::read_to_string("/proc/self/status")
                    .unwrap()
                    .lines()
                    .filter(|l| l.starts_with("VmRSS")
                        || l.starts_with("Rss")
                        || l.starts_with("VmHWM"))
                    .collect::<Vec<_>>()
                    .join(" ")
            );
            loop {
                if let Some(i) = l.ring.next() {
                    let d = decode(&i, 4096);
                    if let Ok(oom_agent::source::bpf::decode::Decoded::Mark(mut m, st)) = d {
                        sy.classify(st.addresses(), &mut m);
                        println!("{m:#?}");
                        return;
                    } else {
                        println!("{:?}", d)
                    }
                } else {
                    std::thread::sleep(std::time::Duration::from_millis(10))
                }
            }
        }
        Err(e) => {
            eprintln!("{}", chain(&e));
            eprintln!("{e:?}")
        }
    }
}
