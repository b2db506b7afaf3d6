// The table of Windows' numbers, spelled out a second time: a change there has to be meant.
#include <gtest/gtest.h>
#include <winsock2.h>
// Keep this order.
#include <windows.h>

#include <map>

#include "platform/error.h"

namespace pyre::platform {
namespace {

TEST(Error, P23_the_whole_table_of_windows) {
  const std::map<int, Errc> table{
      {ERROR_SUCCESS, Errc::ok},
      {ERROR_HANDLE_EOF, Errc::eof},
      {WSAECONNRESET, Errc::reset},
      {WSAECONNABORTED, Errc::reset},
      {WSAECONNREFUSED, Errc::reset},
      {WSAENOTCONN, Errc::reset},
      {WSAESHUTDOWN, Errc::reset},
      {WSAENETRESET, Errc::reset},
      {WSAENETDOWN, Errc::reset},
      {WSAENETUNREACH, Errc::reset},
      {WSAEHOSTDOWN, Errc::reset},
      {WSAEHOSTUNREACH, Errc::reset},
      {WSAEDISCON, Errc::reset},
      {ERROR_NETNAME_DELETED, Errc::reset},
      {ERROR_UNEXP_NET_ERR, Errc::reset},
      {ERROR_CONNECTION_REFUSED, Errc::reset},
      {ERROR_GRACEFUL_DISCONNECT, Errc::reset},
      {ERROR_NETWORK_UNREACHABLE, Errc::reset},
      {ERROR_HOST_UNREACHABLE, Errc::reset},
      {ERROR_PORT_UNREACHABLE, Errc::reset},
      {ERROR_CONNECTION_ABORTED, Errc::reset},
      {ERROR_BROKEN_PIPE, Errc::reset},
      {ERROR_NO_DATA, Errc::reset},
      {ERROR_PIPE_NOT_CONNECTED, Errc::reset},
      {WSAETIMEDOUT, Errc::timed_out},
      {ERROR_SEM_TIMEOUT, Errc::timed_out},
      {ERROR_TIMEOUT, Errc::timed_out},
      {ERROR_OPERATION_ABORTED, Errc::cancelled},
      {ERROR_CANCELLED, Errc::cancelled},
      {WSAECANCELLED, Errc::cancelled},
      {WSA_E_CANCELLED, Errc::cancelled},
      {WSAEMFILE, Errc::exhausted},
      {WSAENOBUFS, Errc::exhausted},
      {WSAEPROCLIM, Errc::exhausted},
      {ERROR_TOO_MANY_OPEN_FILES, Errc::exhausted},
      {ERROR_NOT_ENOUGH_MEMORY, Errc::exhausted},
      {ERROR_OUTOFMEMORY, Errc::exhausted},
      {ERROR_HANDLE_DISK_FULL, Errc::exhausted},
      {ERROR_DISK_FULL, Errc::exhausted},
      {ERROR_NO_SYSTEM_RESOURCES, Errc::exhausted},
      {ERROR_NONPAGED_SYSTEM_RESOURCES, Errc::exhausted},
      {ERROR_PAGED_SYSTEM_RESOURCES, Errc::exhausted},
      {ERROR_WORKING_SET_QUOTA, Errc::exhausted},
      {ERROR_PAGEFILE_QUOTA, Errc::exhausted},
      {ERROR_COMMITMENT_LIMIT, Errc::exhausted},
      {ERROR_NOT_ENOUGH_QUOTA, Errc::exhausted},
      {WSAEINVAL, Errc::unsupported},
      {WSAEOPNOTSUPP, Errc::unsupported},
      {WSAEPROTONOSUPPORT, Errc::unsupported},
      {WSAESOCKTNOSUPPORT, Errc::unsupported},
      {WSAEPFNOSUPPORT, Errc::unsupported},
      {WSAEAFNOSUPPORT, Errc::unsupported},
      {ERROR_INVALID_FUNCTION, Errc::unsupported},
      {ERROR_NOT_SUPPORTED, Errc::unsupported},
      {ERROR_INVALID_PARAMETER, Errc::unsupported},
      {ERROR_CALL_NOT_IMPLEMENTED, Errc::unsupported},
  };
  for (int number = 0; number < 12'000; ++number) {  // Win32's own numbers end below, Winsock's begin at 10,000
    const auto entry = table.find(number);
    const Errc expected = entry == table.end() ? Errc::other : entry->second;
    EXPECT_EQ(errc_from_os(number), expected) << "error " << number << ": " << errc_name(errc_from_os(number));
  }
  EXPECT_EQ(errc_from_os(WSA_OPERATION_ABORTED), Errc::cancelled);
  EXPECT_EQ(errc_from_os(WSA_NOT_ENOUGH_MEMORY), Errc::exhausted);
}

TEST(Error, the_number_travels_beside_the_code) {
  const Result result = result_from_os(WSAETIMEDOUT, 17);
  EXPECT_EQ(result.code, Errc::timed_out);
  EXPECT_EQ(result.bytes, 17U);
  EXPECT_EQ(result.os_error, WSAETIMEDOUT);
  EXPECT_EQ(error_from_os(ERROR_NETNAME_DELETED).code, Errc::reset);
}

}  // namespace
}  // namespace pyre::platform
