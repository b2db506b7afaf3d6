// StaticFile: one file that is open for being served, with the header lines that go before it; FileSet: a file with its
// precompressed siblings, as a name led to them at one moment.
//
// Made on a thread of the file pool, then handed over to a loop, whose thread counts the references.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "http/accept_encoding.h"
#include "net/output_queue.h"
#include "platform/directory.h"
#include "platform/file.h"

namespace pyre::http {

class StaticFile {
 public:
  // Up to this size a file is kept in memory and needs no descriptor: it fits into one block of the output queue, and
  // sending it from there costs less than sendfile() does.
  static constexpr std::uint64_t kMaxInMemory = 16 * 1024;

  // What was read or is to be read of `file`, which it takes over.
  [[nodiscard]] static StaticFile* make(platform::NativeFile file, const platform::FileInfo& info) noexcept;
  StaticFile(const StaticFile&) = delete;
  StaticFile& operator=(const StaticFile&) = delete;

  // A share more, and one less. The latter is what net::Borrowed calls.
  net::Borrowed share() noexcept {
    ++shares_;
    return {this, &StaticFile::drop};
  }
  static void drop(void* file) noexcept;

  [[nodiscard]] bool in_memory() const noexcept { return file_ == platform::no_file; }
  [[nodiscard]] std::string_view body() const noexcept { return body_; }  // if in_memory()
  [[nodiscard]] platform::NativeFile file() const noexcept { return file_; }
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
  [[nodiscard]] std::int64_t modified() const noexcept { return modified_; }  // as Last-Modified says it
  [[nodiscard]] std::string_view etag() const noexcept { return etag_; }

  // Writes the lines. `vary`: the answer depends on Accept-Encoding.
  void describe(std::string_view type, Coding coding, bool vary, std::string_view cache_line, std::int64_t now);
  // Complete lines, for ResponseHead::add_lines(): all of a 200 or 206; without the first, Content-Type, for a 206 of
  // several parts; and those of a 304 (RFC 9110 15.4.5).
  [[nodiscard]] std::string_view lines() const noexcept { return lines_; }
  [[nodiscard]] std::string_view lines_without_type() const noexcept { return lines().substr(type_end_); }
  [[nodiscard]] std::string_view cache_lines() const noexcept { return lines().substr(cache_at_); }
  [[nodiscard]] std::string_view type_line() const noexcept { return lines().substr(0, type_end_); }

 private:
  StaticFile(platform::NativeFile file, const platform::FileInfo& info) noexcept;
  ~StaticFile();

  platform::NativeFile file_;
  std::uint64_t size_;
  std::int64_t modified_ns_;
  std::uint64_t id_;
  std::int64_t modified_ = 0;
  std::uint32_t shares_ = 1;
  std::size_t type_end_ = 0;
  std::size_t cache_at_ = 0;
  std::string body_;
  std::string etag_;
  std::string lines_;
};

struct FileSet {
  enum class Kind : std::uint8_t {
    file,      // variants[identity] is there
    folder,    // with an index.html: the name should end with a '/'
    missing,   // nothing that may be served, for whatever reason
    shortage,  // of descriptors or memory: nobody knows
  };
  struct Drop {
    void operator()(StaticFile* file) const noexcept { StaticFile::drop(file); }
  };

  Kind kind = Kind::missing;
  std::array<std::unique_ptr<StaticFile, Drop>, kCodings> variants;

  [[nodiscard]] unsigned available() const noexcept;    // a bit for each variant, as choose_coding() wants them
  [[nodiscard]] unsigned descriptors() const noexcept;  // that are held open

  // Blocking. `name` is_servable(); with `folder` its index.html is meant.
  [[nodiscard]] static FileSet load(const platform::Directory& directory, std::string_view name, bool folder,
                                    std::string_view cache_line, std::int64_t now);
};

}  // namespace pyre::http
