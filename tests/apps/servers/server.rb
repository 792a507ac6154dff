# A socket server of Ruby's standard library.
require "socket"
Socket.tcp_server_loop(ENV.fetch("PORT")) do |client, _|
  client.gets("\r\n\r\n")
  client.write "HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\nhello from ruby\n"
  client.close
end
