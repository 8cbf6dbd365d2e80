use eonpro_core::event::catalogue::audit::TailRecovered;

fn main() {
    let _ = TailRecovered {
        segment: 1,
        bytes_dropped: 2,
        last_index: 3,
    };
}
