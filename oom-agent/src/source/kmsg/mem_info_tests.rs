//! `Mem-Info` in the forms of several kernels.

use proptest::prelude::*;

use super::*;

const PAGE: u64 = 4096;

fn told(messages: &[&str]) -> Option<SystemMemory> {
    let mut info = MemInfo::default();
    for message in messages {
        info.message(message.as_bytes(), PAGE);
    }
    info.take()
}

/// 6.12, one record with newlines in it and the rest a record a line.
const NEW: &[&str] = &[
    "Mem-Info:",
    "active_anon:17 inactive_anon:5 isolated_anon:0\n active_file:3 inactive_file:4 isolated_file:0\n unevictable:6 dirty:7 writeback:8\n slab_reclaimable:9 slab_unreclaimable:10\n mapped:11 shmem:12 pagetables:13\n sec_pagetables:0 bounce:0\n kernel_misc_reclaimable:0\n free:14 free_pcp:15 free_cma:16",
    "Node 0 active_anon:68kB inactive_anon:20kB active_file:12kB unevictable:24kB all_unreclaimable? yes",
    "Node 0 DMA free:1kB boost:0kB min:2kB low:3kB high:4kB reserved_highatomic:0KB free_highatomic:0KB active_anon:0kB present:15992kB managed:5kB mlocked:0kB",
    "lowmem_reserve[]: 0 411 411 411 411",
    "Node 0 DMA32 free:6kB boost:0kB min:7kB low:8kB high:9kB managed:10kB",
    "Node 0 DMA: 1*4kB (U) 0*8kB 2*16kB (UM) 0*32kB = 36kB",
    "Node 0 DMA32: 0*4kB 0*8kB = 0kB",
    "Node 0 hugepages_total=2 hugepages_free=2 hugepages_surp=0 hugepages_size=1048576kB",
    "Node 0 hugepages_total=3 hugepages_free=0 hugepages_surp=0 hugepages_size=2048kB",
    "20 total pagecache pages",
    "0 pages in swap cache",
    "Free swap  = 0kB",
    "Total swap = 12kB",
    "131072 pages RAM",
    "0 pages HighMem/MovableOnly",
    "9000 pages reserved",
    "0 pages hwpoisoned",
];

#[test]
fn a_whole_one() {
    let zone = |name: &str, first: u64, largest_free_order| Zone {
        node: 0,
        name: name.to_owned(),
        free_bytes: first * 1024,
        min_bytes: (first + 1) * 1024,
        low_bytes: (first + 2) * 1024,
        high_bytes: (first + 3) * 1024,
        managed_bytes: Some((first + 4) * 1024),
        largest_free_order,
    };
    let expected = SystemMemory {
        ram_bytes: Some(131_072 * PAGE),
        reserved_bytes: Some(9000 * PAGE),
        free_bytes: Some(14 * PAGE),
        active_anon_bytes: Some(17 * PAGE),
        inactive_anon_bytes: Some(5 * PAGE),
        active_file_bytes: Some(3 * PAGE),
        inactive_file_bytes: Some(4 * PAGE),
        unevictable_bytes: Some(6 * PAGE),
        dirty_bytes: Some(7 * PAGE),
        writeback_bytes: Some(8 * PAGE),
        slab_reclaimable_bytes: Some(9 * PAGE),
        slab_unreclaimable_bytes: Some(10 * PAGE),
        mapped_bytes: Some(11 * PAGE),
        shmem_bytes: Some(12 * PAGE),
        pagetables_bytes: Some(13 * PAGE),
        swap_total_bytes: Some(12 * 1024),
        swap_free_bytes: Some(0),
        hugepages_bytes: Some((2 << 30) + (3 << 21)),
        zones: vec![zone("DMA", 1, Some(2)), zone("DMA32", 6, None)],
    };
    assert_eq!(told(NEW), Some(expected.clone()));

    // As `dmesg` and syslog write it: a line each, with or without its space.
    let lines: Vec<&str> = NEW.iter().flat_map(|message| message.split('\n')).collect();
    assert_eq!(told(&lines), Some(expected.clone()));
    let trimmed: Vec<&str> = lines.iter().map(|line| line.trim()).collect();
    assert_eq!(told(&trimmed), Some(expected.clone()));
    let escaped: Vec<String> = NEW.iter().map(|line| line.replace('\n', "#012")).collect();
    let escaped: Vec<&str> = escaped.iter().map(String::as_str).collect();
    assert_eq!(told(&escaped), Some(expected));
}

#[test]
fn zones_without_numa_and_on_several_nodes() {
    let zones = |messages: &[&str]| {
        let memory = told(&[&["Mem-Info:", "free:1"], messages].concat()).unwrap();
        let zones = memory.zones.iter();
        let zones: Vec<_> = zones
            .map(|zone| format!("{} {}", zone.node, zone.name))
            .collect();
        (zones, memory.hugepages_bytes)
    };
    let numbers = "free:1kB min:1kB low:1kB high:1kB present:3kB";
    assert_eq!(
        zones(&[&format!("Normal {numbers}"), &format!("HighMem {numbers}")]).0,
        ["0 Normal", "0 HighMem"]
    );
    assert_eq!(
        zones(&[
            "Node 1 ",
            &format!("Normal {numbers}"),
            &format!("Node 2 Normal {numbers}")
        ])
        .0,
        ["1 Normal", "2 Normal"]
    );
    let hugepages = |node| format!("Node {node} hugepages_total=1 hugepages_size=2048kB");
    assert_eq!(zones(&[&hugepages(3)]).1, Some(2 << 20));
    assert_eq!(zones(&[&hugepages(0), &hugepages(1)]).1, None);
    assert_eq!(
        zones(&["Node 0 DMA per-cpu:", "Node 99999999999 DMA free:"]).0,
        [""; 0]
    );
}

#[test]
fn two_that_are_mixed_or_one_without_its_beginning_are_none() {
    assert_eq!(told(&[NEW, NEW].concat()), None);
    assert_eq!(told(&NEW[1..]), None);
    assert_eq!(told(&[NEW, &["Free swap  = 4kB"]].concat()), None);
    assert_eq!(told(&[NEW, &[NEW[3]]].concat()), None);
    assert_eq!(told(&["Mem-Info:"]), None);
}

#[test]
fn a_block_list_that_is_cut_tells_nothing() {
    let cases = [
        ("1*4kB (U) 1*8kB (M) = 12kB", Some(1)),
        ("1*4kB (U) 1*8kB", None),
        ("0*4kB 0*8kB = 0kB", None),
        ("", None),
    ];
    for (blocks, order) in cases {
        assert_eq!(largest_free_order(blocks.as_bytes()), order, "{blocks}");
    }
}

#[test]
fn numbers_that_do_not_fit_are_unknown() {
    let memory = told(&[
        "Mem-Info:",
        "free:9999999999999999 mapped:1",
        "99999999999999999999 pages RAM",
    ]);
    let memory = memory.unwrap();
    assert_eq!((memory.free_bytes, memory.ram_bytes), (None, None));
    assert_eq!(memory.mapped_bytes, Some(PAGE));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(lines: Vec<(u8, Vec<u8>)>) {
        let heads = ["Node 0 ", "Node 0 DMA free:", "Node 0 DMA: ", "Free swap = ", "free:", "", "Mem-Info:"];
        let mut info = MemInfo::default();
        info.message(MEM_INFO, PAGE);
        for (head, tail) in lines {
            let head = heads[usize::from(head) % heads.len()];
            let message = [head.as_bytes(), &tail].concat();
            let _ = looks_like_part(&message);
            info.message(&message, PAGE);
        }
        let _ = info.take();
    }
}
