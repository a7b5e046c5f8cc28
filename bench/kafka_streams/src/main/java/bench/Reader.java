package bench;

/** Moves through a message in Avro's binary encoding; fields are taken as ranges of bytes, nothing is copied. */
final class Reader {
    final byte[] data;
    int position;
    /** Where the last field that was read begins, and its length; -1 for a null. */
    int start;
    int length;

    Reader(byte[] data, int position) {
        this.data = data;
        this.position = position;
    }

    long number() {
        long bits = 0;
        for (int shift = 0; ; shift += 7) {
            byte next = data[position++];
            bits |= (long) (next & 0x7f) << shift;
            if (next >= 0) {
                return bits >>> 1 ^ -(bits & 1);
            }
        }
    }

    /** A text, or bytes. */
    void sized() {
        length = (int) number();
        start = position;
        position += length;
    }

    /** A union of null and a text. */
    void optional() {
        if (number() == 0) {
            length = -1;
        } else {
            sized();
        }
    }
}
