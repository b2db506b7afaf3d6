// The client's side of real connections, on any system.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "platform/native.h"

namespace pyre::test {

using platform::NativeSocket;

[[nodiscard]] bool has_unix_sockets();

// Non-blocking listeners; failures of these calls end the program, with the system's word for it.
[[nodiscard]] NativeSocket listen_on_loopback(int backlog = 1024);
[[nodiscard]] NativeSocket listen_on_unix();
// A non-blocking socket that is connected to it.
[[nodiscard]] NativeSocket connect_to(NativeSocket listener);
// Waits for the connection; non-blocking.
[[nodiscard]] NativeSocket accept_from(NativeSocket listener);

struct SocketPair {
  NativeSocket server;  // non-blocking
  NativeSocket client;  // blocking
};
// TCP over loopback, where the system has nothing shorter.
[[nodiscard]] SocketPair connected_pair();

void set_blocking(NativeSocket socket, bool blocking);
void close_it(NativeSocket socket);
// The next close resets the connection, whatever is unread.
void reset_it(NativeSocket socket);
void finish_writing(NativeSocket socket);
[[nodiscard]] std::uint16_t local_port(NativeSocket socket);

enum class Outcome : std::uint8_t { done, would_block, end, reset, failed };
struct Moved {
  Outcome outcome;
  std::size_t bytes;
};
[[nodiscard]] Moved write_some(NativeSocket socket, std::string_view bytes);
[[nodiscard]] Moved read_some(NativeSocket socket, char* into, std::size_t size);
// After Outcome::end on a socket that has not finished writing: was it a reset? Wine's server takes the error of a
// socket that it watches, and a read that comes after it finds an end. The other systems tell by themselves.
[[nodiscard]] bool was_reset(NativeSocket socket);
bool write_all(NativeSocket socket, std::string_view bytes);  // a blocking socket
std::string read_all(NativeSocket socket);                    // a blocking socket, until its end or an error
[[nodiscard]] bool wait_readable(NativeSocket socket, int timeout_ms);

}  // namespace pyre::test
