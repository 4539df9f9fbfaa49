//! What was being allocated, by the functions on the kernel's stack.
//!
//! Reads function names, from whichever source has them; emits [`Allocation`]. Refuses to conclude from
//! a function that is not listed.

use crate::event::Allocation;

/// Functions that tell it (`mm/memory.c`, `mm/filemap.c`, `mm/slub.c` and others); the innermost counts.
pub const FUNCTIONS: &[(&str, Allocation)] = &[
    ("pte_alloc_one", Allocation::PageTable),
    ("__pte_alloc", Allocation::PageTable),
    ("__pmd_alloc", Allocation::PageTable),
    ("__pud_alloc", Allocation::PageTable),
    ("do_anonymous_page", Allocation::AnonPageFault),
    ("alloc_anon_folio", Allocation::AnonPageFault),
    ("do_huge_pmd_anonymous_page", Allocation::HugePage),
    ("vma_alloc_anon_folio_pmd", Allocation::HugePage),
    ("hugetlb_fault", Allocation::HugePage),
    ("do_wp_page", Allocation::CopyOnWrite),
    ("wp_page_copy", Allocation::CopyOnWrite),
    ("do_cow_fault", Allocation::CopyOnWrite),
    ("do_swap_page", Allocation::SwapIn),
    ("shmem_get_folio_gfp", Allocation::Shmem),
    ("shmem_getpage_gfp", Allocation::Shmem),
    ("shmem_alloc_and_add_folio", Allocation::Shmem),
    ("filemap_fault", Allocation::FilePageFault),
    ("__filemap_get_folio", Allocation::PageCache),
    ("__filemap_get_folio_mpol", Allocation::PageCache),
    ("pagecache_get_page", Allocation::PageCache),
    ("filemap_read", Allocation::PageCache),
    ("page_cache_ra_unbounded", Allocation::PageCache),
    ("page_cache_ra_order", Allocation::PageCache),
    ("kmem_cache_alloc_noprof", Allocation::Slab),
    ("kmem_cache_alloc", Allocation::Slab),
    ("kmem_cache_alloc_lru_noprof", Allocation::Slab),
    ("kmem_cache_alloc_node_noprof", Allocation::Slab),
    ("__memcg_slab_post_alloc_hook", Allocation::Slab),
    ("__kmalloc_noprof", Allocation::Slab),
    ("__kmalloc", Allocation::Slab),
    ("__kmalloc_node", Allocation::Slab),
    ("__kmalloc_node_noprof", Allocation::Slab),
    ("__kmem_cache_alloc_node", Allocation::Slab),
    ("mem_cgroup_charge_skmem", Allocation::Socket),
    ("mem_cgroup_sk_charge", Allocation::Socket),
    ("__vmalloc_node_range_noprof", Allocation::Vmalloc),
    ("__vmalloc_node_range", Allocation::Vmalloc),
    ("dup_task_struct", Allocation::Vmalloc),
    ("memory_max_write", Allocation::LimitWrite),
    ("mem_cgroup_resize_max", Allocation::LimitWrite),
    ("obj_cgroup_charge_pages", Allocation::OtherKernel),
    ("__memcg_kmem_charge_page", Allocation::OtherKernel),
];

/// What these functions, the innermost first, tell.
pub fn of<'a>(functions: impl Iterator<Item = &'a str>) -> Option<Allocation> {
    innermost(functions.filter_map(|function| {
        let name = base_name(function.as_bytes());
        let known = FUNCTIONS.iter().find(|(known, _)| known.as_bytes() == name);
        known.map(|&(_, allocation)| allocation)
    }))
}

/// What counts of all that the functions of one stack tell, the innermost first. A fault on a mapped file
/// takes its page through the page cache, and is a fault all the same.
pub fn innermost(mut told: impl Iterator<Item = Allocation>) -> Option<Allocation> {
    let innermost = told.next()?;
    let fault = innermost == Allocation::PageCache
        && told.any(|allocation| allocation == Allocation::FilePageFault);
    Some(if fault {
        Allocation::FilePageFault
    } else {
        innermost
    })
}

/// The function's name without what compilers append: `.isra.0`, `.constprop.0`, `.cold`.
#[must_use]
pub fn base_name(name: &[u8]) -> &[u8] {
    name.split(|&byte| byte == b'.').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_function_that_is_known_counts() {
        let told = |functions: &[&str]| of(functions.iter().copied());
        assert_eq!(
            told(&["try_charge", "pte_alloc_one.isra.0", "do_anonymous_page"]),
            Some(Allocation::PageTable)
        );
        assert_eq!(
            told(&["__filemap_get_folio", "filemap_fault", "__do_fault"]),
            Some(Allocation::FilePageFault)
        );
        assert_eq!(
            told(&["__filemap_get_folio", "ext4_da_write_begin"]),
            Some(Allocation::PageCache)
        );
        assert_eq!(told(&["pte_alloc_one_x"]), None);
        assert_eq!(told(&[]), None);
    }
}
