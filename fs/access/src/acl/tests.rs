use super::*;

/// What `setfacl -m u:1000:rwx,g:100:r,m:rx` leaves on a file of mode 0640, as the kernel hands it over.
const GOLDEN: [u8; 52] = [
    2, 0, 0, 0, //
    0x01, 0, 6, 0, 255, 255, 255, 255, //
    0x02, 0, 7, 0, 0xe8, 3, 0, 0, //
    0x04, 0, 4, 0, 255, 255, 255, 255, //
    0x08, 0, 4, 0, 100, 0, 0, 0, //
    0x10, 0, 5, 0, 255, 255, 255, 255, //
    0x20, 0, 0, 0, 255, 255, 255, 255,
];

#[test]
fn the_kernels_form_is_read_and_written() {
    let acl = Acl::decode(&GOLDEN).unwrap().unwrap();
    assert_eq!(acl.mode(), 0o650);
    assert!(!acl.is_minimal());
    assert_eq!(acl.encode(), GOLDEN);
}
