package bench;

import com.sun.management.OperatingSystemMXBean;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicLong;

/**
 * Counts messages and remembers when, as bench/meter.py does; time ends with the last message, before its commit,
 * which is to the advantage of this program.
 */
final class Meter {
    private static final int MARK_EVERY = 1000;

    private record Mark(double atS, long messages, double cpuS) {}

    private final long wanted;
    private final AtomicLong messages = new AtomicLong();
    private final AtomicLong fired = new AtomicLong();
    private final List<Mark> marks = new ArrayList<>();
    private final CountDownLatch done = new CountDownLatch(1);
    private final OperatingSystemMXBean system =
        (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();

    Meter(long wanted) {
        this.wanted = wanted;
    }

    void begin() {
        if (messages.get() == 0) {
            mark(0);
        }
    }

    /** True once, for the last message that was wanted. */
    boolean count() {
        long now = messages.incrementAndGet();
        if (now == wanted || now % MARK_EVERY == 0) {
            mark(now);
        }
        if (now == wanted) {
            done.countDown();
        }
        return now == wanted;
    }

    void fired() {
        fired.incrementAndGet();
    }

    void await() throws InterruptedException {
        done.await();
    }

    private synchronized void mark(long count) {
        if (wanted > 0 && count <= wanted) {
            marks.add(new Mark(System.nanoTime() / 1e9, count, system.getProcessCpuTime() / 1e9));
        }
    }

    synchronized String result() throws IOException {
        Mark first = marks.get(0);
        Mark last = marks.get(marks.size() - 1);
        Mark middle = marks.stream().filter(mark -> mark.messages >= last.messages / 2.0).findFirst().orElseThrow();
        long half = last.messages - middle.messages;
        StringBuilder timeline = new StringBuilder();
        for (Mark mark : marks) {
            timeline.append(timeline.isEmpty() ? "" : ", ");
            timeline.append(String.format(Locale.ROOT, "[%f, %d]", mark.atS, mark.messages));
        }
        return String.format(
            Locale.ROOT,
            "{\"messages\": %d, \"events_per_s\": %f, \"second_half_events_per_s\": %f, \"start_cpu_s\": %f,"
                + " \"cpu_s_per_million\": %f, \"second_half_cpu_s_per_million\": %f, \"rss_mb\": %f,"
                + " \"fired\": %d, \"timeline\": [%s]}",
            last.messages,
            last.messages / (last.atS - first.atS),
            half / (last.atS - middle.atS),
            first.cpuS,
            (last.cpuS - first.cpuS) / last.messages * 1e6,
            (last.cpuS - middle.cpuS) / half * 1e6,
            residentMb(),
            fired.get(),
            timeline);
    }

    private static double residentMb() throws IOException {
        Path status = Path.of("/proc/self/status");
        if (!Files.exists(status)) {
            return Double.NaN;
        }
        String line = Files.readAllLines(status).stream().filter(each -> each.startsWith("VmHWM:")).findFirst().orElseThrow();
        return Integer.parseInt(line.replaceAll("\\D", "")) / 1024.0;
    }
}
