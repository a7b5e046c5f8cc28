package bench;

/** Reads events and writes invocations and run records, as the engine's schemas say. One is used by one thread. */
interface Messages {
    String CODE = "order.paid";
    String TRIGGER = "trigger-0";
    String VERSION = "0123456789abcdef";
    String TASK = "ship";
    String LEAF = "when";

    /** The event in {@code value}, null if no trigger listens to it. */
    Event event(byte[] value);

    /** An event that fires; valid until the next one is read. Run ids are hexadecimal, in ASCII. */
    interface Event {
        byte[] id();

        byte[] invocation(byte[] runId);

        byte[] run(byte[] runId, String topic, int partition, long offset);
    }
}
