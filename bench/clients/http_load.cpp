// A load generator for what wrk cannot do: an exact number of requests with large answers whose length is checked,
// requests at a fixed rate whose latency counts from when they were due (so a stalled server cannot hide its stall),
// and two classes of requests, fast and slow, whose latencies are kept apart.
//
// usage: http_load --port P [--path /] [--connections 64] (--requests N | --seconds S) [--rate R]
//                  [--slow-path /slow --slow-every 50] [--expect-bytes B] [--deadline 120] [--seed 1]
//                  [--pipeline 1]   requests written at once on a connection; their latency is that of the last answer
//                  [--every 1]      of the connections only each so many-th is used, the others stay idle
//                  [--head-bytes 0] request heads are filled up to this size
// Prints one line of JSON. Exit 0 when every answer was a complete 200 with the expected length, else 1.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;
using Time = Clock::time_point;

constexpr std::size_t kReadBytes = 256 * 1024;    // four chunks of the streamed answers at once
constexpr std::size_t kMaxHeadBytes = 64 * 1024;  // more than any server here sends; a bound, not a limit
constexpr std::size_t kMaxSamples = 20'000'000;   // 80 MB of latencies; a longer run stops recording

struct Options {
  int port = 0;
  int connections = 64;
  std::string path = "/";
  std::string slow_path;
  unsigned slow_every = 50;
  uint64_t requests = 0;
  double seconds = 0;
  double rate = 0;
  int64_t expect_bytes = -1;
  double deadline = 120;
  uint64_t pipeline = 1;
  unsigned every = 1;
  std::size_t head_bytes = 0;
  unsigned seed = 1;
};

double micros(Clock::duration duration) { return std::chrono::duration<double, std::micro>(duration).count(); }

Clock::duration from_seconds(double seconds) {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

// Consumes the bytes of responses and says when one is complete. Bodies are skipped, their length is counted.
class ResponseReader {
 public:
  enum class Step { more, complete, broken };

  void reset() {
    state_ = State::head;
    line_.clear();
    body_bytes_ = 0;
  }

  [[nodiscard]] int status() const { return status_; }
  [[nodiscard]] int64_t body_bytes() const { return body_bytes_; }

  // Takes bytes up to the end of one answer; what follows it is left in `bytes`.
  Step feed(std::string_view& bytes) {
    while (!bytes.empty()) {
      switch (state_) {
        case State::head:
        case State::chunk_size:
        case State::trailer:
          if (!take_line(bytes)) return line_.size() > kMaxHeadBytes ? Step::broken : Step::more;
          if (const Step step = on_line(); step != Step::more) return step;
          break;
        case State::body: {
          const auto now = std::min<uint64_t>(left_, bytes.size());
          left_ -= now;
          body_bytes_ += static_cast<int64_t>(now);
          bytes.remove_prefix(now);
          if (left_ == 0 && !chunked_) return Step::complete;
          if (left_ == 0) {
            state_ = State::chunk_end;
            left_ = 2;
          }
          break;
        }
        case State::chunk_end: {
          const auto now = std::min<uint64_t>(left_, bytes.size());
          left_ -= now;
          bytes.remove_prefix(now);
          if (left_ == 0) state_ = State::chunk_size;
          break;
        }
      }
    }
    return Step::more;
  }

 private:
  enum class State { head, body, chunk_size, chunk_end, trailer };

  bool take_line(std::string_view& bytes) {
    const auto end = bytes.find('\n');
    line_.append(bytes.substr(0, end));
    if (end == std::string_view::npos) {
      bytes = {};
      return false;
    }
    bytes.remove_prefix(end + 1);
    if (!line_.empty() && line_.back() == '\r') line_.pop_back();
    return true;
  }

  Step on_line() {
    Step step = Step::more;
    if (state_ == State::head) {
      step = on_head_line();
    } else if (state_ == State::chunk_size) {
      left_ = std::strtoull(line_.c_str(), nullptr, 16);
      state_ = left_ == 0 ? State::trailer : State::body;
    } else if (line_.empty()) {
      step = Step::complete;
    }
    line_.clear();
    return step;
  }

  Step on_head_line() {
    if (line_.rfind("HTTP/1.", 0) == 0 && line_.size() >= 12) {
      status_ = std::atoi(line_.c_str() + 9);
      left_ = 0;
      chunked_ = false;
      return Step::more;
    }
    if (line_.empty()) {
      if (chunked_) {
        state_ = State::chunk_size;
        return Step::more;
      }
      state_ = State::body;
      return left_ == 0 ? Step::complete : Step::more;
    }
    const auto colon = line_.find(':');
    if (colon == std::string::npos) return Step::broken;
    std::string name = line_.substr(0, colon);
    std::transform(name.begin(), name.end(), name.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
    if (name == "content-length") left_ = std::strtoull(line_.c_str() + colon + 1, nullptr, 10);
    if (name == "transfer-encoding") chunked_ = line_.find("chunked", colon) != std::string::npos;
    return Step::more;
  }

  State state_ = State::head;
  std::string line_;
  int status_ = 0;
  bool chunked_ = false;
  uint64_t left_ = 0;
  int64_t body_bytes_ = 0;
};

struct Connection {
  int fd = -1;
  uint64_t outstanding = 0;
  bool slow = false;
  Time due;
  ResponseReader reader;
};

class Load {
 public:
  explicit Load(const Options& options)
      : options_(options),
        random_(options.seed),
        fast_request_(format(options.path, options.head_bytes)),
        slow_request_(format(options.slow_path, options.head_bytes)),
        buffer_(kReadBytes) {}

  int run() {
    epoll_ = ::epoll_create1(EPOLL_CLOEXEC);
    timer_ = ::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    watch(timer_, nullptr);
    for (int i = 0; i < options_.connections; ++i) {
      connections_.push_back(std::make_unique<Connection>());
      if (!connect(*connections_.back())) return 1;
    }
    start_ = Clock::now();
    end_ = options_.seconds > 0 ? start_ + from_seconds(options_.seconds) : Time::max();
    const Time deadline = start_ + from_seconds(options_.deadline);
    next_due_ = start_;
    for (std::size_t i = 0; i < connections_.size(); i += options_.every) free_.push_back(connections_[i].get());
    start_more();
    std::array<epoll_event, 256> events;
    while (in_flight_ > 0 || more_wanted(Clock::now())) {
      const int count = ::epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), 100);
      for (int i = 0; i < count; ++i) {
        auto* connection = static_cast<Connection*>(events[static_cast<std::size_t>(i)].data.ptr);
        if (connection == nullptr) {
          uint64_t expirations = 0;
          if (::read(timer_, &expirations, sizeof expirations) < 0) continue;
        } else {
          on_readable(*connection);
        }
      }
      if (errors_ > 0 || Clock::now() > deadline) break;
      start_more();
    }
    // Whatever is still in flight here was cut off by an error or by the deadline.
    errors_ += static_cast<uint64_t>(in_flight_);
    report();
    return errors_ == 0 && done_ > 0 ? 0 : 1;
  }

 private:
  static std::string format(const std::string& path, std::size_t head_bytes) {
    std::string head = "GET " + path + " HTTP/1.1\r\nHost: 127.0.0.1\r\n";
    while (head.size() + 12 < head_bytes) {
      const std::size_t left = head_bytes - head.size() - 12;
      head += "Cookie: " + std::string(std::min<std::size_t>(left, 900), 'c') + "\r\n";
    }
    return head + "\r\n";
  }

  void watch(int fd, Connection* connection) const {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.ptr = connection;
    ::epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event);
  }

  bool connect(Connection& connection) const {
    connection.fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(options_.port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(connection.fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
      std::perror("http_load: connect");
      return false;
    }
    const int one = 1;
    ::setsockopt(connection.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    watch(connection.fd, &connection);
    return true;
  }

  [[nodiscard]] bool more_wanted(Time now) const {
    if (options_.requests > 0 && sent_ >= options_.requests) return false;
    return (options_.rate > 0 ? std::min(next_due_, now) : now) < end_;
  }

  // Starts every request that is due and for which a connection is free; arms the timer for the next one.
  void start_more() {
    for (;;) {
      const Time now = Clock::now();
      if (!more_wanted(now)) return;
      if (options_.rate > 0 && next_due_ > now) {
        arm(next_due_ - now);
        return;
      }
      if (free_.empty()) return;
      Connection& connection = *free_.front();
      free_.pop_front();
      connection.due = options_.rate > 0 ? next_due_ : now;
      if (options_.rate > 0) next_due_ += from_seconds(1.0 / options_.rate);
      connection.slow = !options_.slow_path.empty() && random_() % options_.slow_every == 0;
      connection.outstanding = options_.pipeline;
      if (options_.requests > 0) connection.outstanding = std::min(connection.outstanding, options_.requests - sent_);
      connection.reader.reset();
      std::string request;
      for (uint64_t i = 0; i < connection.outstanding; ++i) request += connection.slow ? slow_request_ : fast_request_;
      sent_ += connection.outstanding;
      ++in_flight_;
      // The socket blocks, and 64 requests of ~ 60 bytes, or one of 64 KiB, always fit an idle connection's send
      // buffer.
      if (::send(connection.fd, request.data(), request.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(request.size())) {
        ++errors_;
        return;
      }
    }
  }

  void arm(Clock::duration delay) const {
    const auto nanos = std::max<int64_t>(1, std::chrono::duration_cast<std::chrono::nanoseconds>(delay).count());
    itimerspec when{};
    when.it_value.tv_sec = nanos / 1'000'000'000;
    when.it_value.tv_nsec = nanos % 1'000'000'000;
    ::timerfd_settime(timer_, 0, &when, nullptr);
  }

  void on_readable(Connection& connection) {
    const ssize_t got = ::recv(connection.fd, buffer_.data(), buffer_.size(), MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) {
      ++errors_;
      return;
    }
    std::string_view bytes(buffer_.data(), static_cast<std::size_t>(got));
    while (!bytes.empty()) {
      // Bytes that no request asked for are as wrong as an answer of the wrong length.
      const auto step = connection.outstanding > 0 ? connection.reader.feed(bytes) : ResponseReader::Step::broken;
      if (step == ResponseReader::Step::more) return;
      const bool right = step == ResponseReader::Step::complete && connection.reader.status() == 200 &&
                         (options_.expect_bytes < 0 || connection.reader.body_bytes() == options_.expect_bytes);
      if (!right) {
        ++errors_;
        return;
      }
      ++done_;
      bytes_ += static_cast<uint64_t>(connection.reader.body_bytes());
      connection.reader.reset();
      if (--connection.outstanding == 0 && !bytes.empty()) {
        ++errors_;
        return;
      }
    }
    if (connection.outstanding > 0) return;
    last_done_ = Clock::now();
    auto& samples = connection.slow ? slow_ : fast_;
    if (samples.size() < kMaxSamples) samples.push_back(static_cast<float>(micros(last_done_ - connection.due)));
    --in_flight_;
    free_.push_back(&connection);
  }

  static void print_class(const char* name, std::vector<float>& samples) {
    std::sort(samples.begin(), samples.end());
    const auto at = [&](std::size_t percent) {
      if (samples.empty()) return 0.0;
      return static_cast<double>(samples[std::min(samples.size() - 1, samples.size() * percent / 100)]);
    };
    std::printf(",\"%s\":{\"count\":%zu,\"p50_us\":%.1f,\"p99_us\":%.1f,\"max_us\":%.1f}", name, samples.size(), at(50),
                at(99), at(100));
  }

  void report() {
    std::printf("{\"requests\":%llu,\"errors\":%llu,\"bytes\":%llu,\"seconds\":%.6f",
                static_cast<unsigned long long>(done_), static_cast<unsigned long long>(errors_),
                static_cast<unsigned long long>(bytes_), done_ > 0 ? micros(last_done_ - start_) / 1e6 : 0.0);
    print_class("fast", fast_);
    print_class("slow", slow_);
    std::printf("}\n");
  }

  Options options_;
  std::minstd_rand random_;
  std::string fast_request_;
  std::string slow_request_;
  std::vector<char> buffer_;
  int epoll_ = -1;
  int timer_ = -1;
  std::vector<std::unique_ptr<Connection>> connections_;
  std::deque<Connection*> free_;
  Time start_;
  Time end_;
  Time next_due_;
  Time last_done_;
  uint64_t sent_ = 0;
  uint64_t done_ = 0;
  uint64_t bytes_ = 0;
  uint64_t errors_ = 0;
  int in_flight_ = 0;
  std::vector<float> fast_;
  std::vector<float> slow_;
};

bool parse(int argc, char** argv, Options& options) {
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string_view name = argv[i];
    const char* value = argv[i + 1];
    if (name == "--port")
      options.port = std::atoi(value);
    else if (name == "--connections")
      options.connections = std::atoi(value);
    else if (name == "--path")
      options.path = value;
    else if (name == "--slow-path")
      options.slow_path = value;
    else if (name == "--slow-every")
      options.slow_every = static_cast<unsigned>(std::atoi(value));
    else if (name == "--requests")
      options.requests = std::strtoull(value, nullptr, 10);
    else if (name == "--seconds")
      options.seconds = std::atof(value);
    else if (name == "--rate")
      options.rate = std::atof(value);
    else if (name == "--expect-bytes")
      options.expect_bytes = std::atoll(value);
    else if (name == "--deadline")
      options.deadline = std::atof(value);
    else if (name == "--pipeline")
      options.pipeline = std::strtoull(value, nullptr, 10);
    else if (name == "--every")
      options.every = static_cast<unsigned>(std::atoi(value));
    else if (name == "--head-bytes")
      options.head_bytes = std::strtoull(value, nullptr, 10);
    else if (name == "--seed")
      options.seed = static_cast<unsigned>(std::atoi(value));
    else
      return false;
  }
  return argc % 2 == 1 && options.port > 0 && options.connections > 0 && options.slow_every > 0 && options.every > 0 &&
         options.pipeline >= 1 && options.pipeline <= 64 && (options.requests > 0 || options.seconds > 0);
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  if (!parse(argc, argv, options)) {
    std::fprintf(stderr, "http_load: see the head of bench/clients/http_load.cpp for its options\n");
    return 2;
  }
  return Load(options).run();
}
