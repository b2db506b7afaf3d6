// The errno table, spelled out a second time: a change there has to be meant.
#include <gtest/gtest.h>

#include <cerrno>
#include <map>

#include "platform/error.h"

namespace pyre::platform {
namespace {

TEST(Error, P23_the_whole_errno_table) {
  const std::map<int, Errc> table{
      {0, Errc::ok},
      {ECONNRESET, Errc::reset},
      {ECONNABORTED, Errc::reset},
      {ECONNREFUSED, Errc::reset},
      {EPIPE, Errc::reset},
      {ENOTCONN, Errc::reset},
      {ESHUTDOWN, Errc::reset},
      {ENETRESET, Errc::reset},
      {ENETDOWN, Errc::reset},
      {ENETUNREACH, Errc::reset},
      {EHOSTDOWN, Errc::reset},
      {EHOSTUNREACH, Errc::reset},
      {ETIMEDOUT, Errc::timed_out},
      {ECANCELED, Errc::cancelled},
      {EMFILE, Errc::exhausted},
      {ENFILE, Errc::exhausted},
      {ENOBUFS, Errc::exhausted},
      {ENOMEM, Errc::exhausted},
      {ENOSPC, Errc::exhausted},
      {EINVAL, Errc::unsupported},
      {ENOSYS, Errc::unsupported},
      {EOPNOTSUPP, Errc::unsupported},
      {EPROTONOSUPPORT, Errc::unsupported},
      {EAFNOSUPPORT, Errc::unsupported},
  };
  for (int number = 0; number < 200; ++number) {
    const auto entry = table.find(number);
    const Errc expected = entry == table.end() ? Errc::other : entry->second;
    EXPECT_EQ(errc_from_os(number), expected) << "errno " << number << ": " << errc_name(errc_from_os(number));
  }
}

TEST(Error, the_number_travels_beside_the_code) {
  EXPECT_EQ(error_from_os(EPIPE).code, Errc::reset);
  EXPECT_EQ(error_from_os(EPIPE).os_error, EPIPE);
  const Result result = result_from_os(ETIMEDOUT, 17);
  EXPECT_EQ(result.code, Errc::timed_out);
  EXPECT_EQ(result.bytes, 17U);
  EXPECT_EQ(result.os_error, ETIMEDOUT);
  EXPECT_FALSE(result.ok());
}

}  // namespace
}  // namespace pyre::platform
