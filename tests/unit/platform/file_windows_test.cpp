// What only Windows has: paths of 260 characters and more, names that are devices, bytes that are no UTF-8.
#include <gtest/gtest.h>
#include <windows.h>

#include <string>

#include "platform/file.h"
#include "support/files.h"

namespace pyre::platform {
namespace {

TEST(FileWindows, long_paths_open_in_every_spelling) {
  const pyre::test::TemporaryFolder folder;
  std::string path = folder.file("");
  while (path.ends_with('\\') || path.ends_with('/')) path.pop_back();
  std::wstring wide(path.begin(), path.end());
  wide.insert(0, L"\\\\?\\");
  for (int i = 0; i < 6; ++i) {
    path += "/" + std::string(60, static_cast<char>('a' + i));
    wide += L"\\" + std::wstring(60, static_cast<wchar_t>(L'a' + i));
    ASSERT_NE(::CreateDirectoryW(wide.c_str(), nullptr), 0) << ::GetLastError();
  }
  wide += L"\\file";
  const HANDLE made =
      ::CreateFileW(wide.c_str(), GENERIC_WRITE, 0, nullptr, CREATE_NEW, FILE_ATTRIBUTE_NORMAL, nullptr);
  ASSERT_NE(made, INVALID_HANDLE_VALUE);
  EXPECT_TRUE(pyre::test::write_file(made, "far down"));
  ::CloseHandle(made);

  ASSERT_GT(path.size(), 260U);
  std::string backslashes = path;
  for (char& c : backslashes) c = c == '/' ? '\\' : c;
  for (const std::string& spelling :
       {path + "/file", backslashes + "\\file", path + "/./../" + std::string(60, 'f') + "/file",
        "\\\\?\\" + backslashes + "\\file"}) {
    const auto file = open_file(spelling.c_str());
    ASSERT_TRUE(file.has_value()) << spelling << ": " << file.error().os_error;
    EXPECT_EQ(stat_file(file.value()).value().size, 8U);
    close_file(file.value());
  }
  EXPECT_FALSE(open_file((path + "/none").c_str()).has_value());
  EXPECT_FALSE(open_file(std::string(40'000, 'x').c_str()).has_value());
  // remove_all() of an old libstdc++ does not find its way down there.
  ::DeleteFileW(wide.c_str());
  for (int i = 0; i < 6; ++i) ::RemoveDirectoryW(wide.erase(wide.rfind(L'\\')).c_str());
}

TEST(FileWindows, a_device_is_no_regular_file) {
  const auto file = open_file("NUL");
  ASSERT_TRUE(file.has_value());
  EXPECT_FALSE(stat_file(file.value()).value().regular);
  close_file(file.value());
}

TEST(FileWindows, bytes_that_are_no_utf8_name_no_file) {
  const auto file = open_file("\xff\xfe.txt");
  ASSERT_FALSE(file.has_value());
  EXPECT_EQ(file.error().os_error, ERROR_NO_UNICODE_TRANSLATION);
}

TEST(FileWindows, our_handles_are_not_inherited) {
  const pyre::test::TemporaryFile file("x");
  DWORD flags = HANDLE_FLAG_INHERIT;
  ASSERT_NE(::GetHandleInformation(file.native(), &flags), 0);
  EXPECT_EQ(flags & HANDLE_FLAG_INHERIT, 0U);
  const auto copy = duplicate_file(file.native());
  ASSERT_TRUE(copy.has_value());
  ASSERT_NE(::GetHandleInformation(copy.value(), &flags), 0);
  EXPECT_EQ(flags & HANDLE_FLAG_INHERIT, 0U);
  close_file(copy.value());
}

}  // namespace
}  // namespace pyre::platform
