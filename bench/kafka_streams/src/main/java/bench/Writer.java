package bench;

import java.util.Arrays;

/** Writes Avro's binary encoding into an array that grows; one is used for all messages of a thread. */
final class Writer {
    private byte[] data = new byte[1024];
    private int position;

    Writer clear() {
        position = 0;
        return this;
    }

    byte[] bytes() {
        return Arrays.copyOf(data, position);
    }

    Writer raw(byte[] from, int start, int length) {
        if (position + length > data.length) {
            data = Arrays.copyOf(data, 2 * (position + length));
        }
        System.arraycopy(from, start, data, position, length);
        position += length;
        return this;
    }

    Writer raw(byte[] from) {
        return raw(from, 0, from.length);
    }

    Writer number(long value) {
        if (position + 10 > data.length) {
            data = Arrays.copyOf(data, 2 * data.length);
        }
        long bits = value << 1 ^ value >> 63;
        while ((bits & ~0x7fL) != 0) {
            data[position++] = (byte) (bits | 0x80);
            bits >>>= 7;
        }
        data[position++] = (byte) bits;
        return this;
    }

    /** A text, or bytes. */
    Writer sized(byte[] from, int start, int length) {
        return number(length).raw(from, start, length);
    }

    Writer sized(byte[] from) {
        return sized(from, 0, from.length);
    }

    /** A union of null and a text; a length of -1 is a null. */
    Writer optional(byte[] from, int start, int length) {
        return length < 0 ? number(0) : number(1).sized(from, start, length);
    }
}
